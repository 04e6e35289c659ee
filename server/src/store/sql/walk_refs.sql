-- A stretch of all keys, in order, with their jobs.
SELECT ref_key, job_id
FROM {p}job_ref
WHERE ref_key > ?
ORDER BY ref_key
LIMIT ?
