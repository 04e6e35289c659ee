-- A stretch of request ids in the order of their keys, with the time until which each is remembered.
SELECT ref_key, job_id, expire_time
FROM {p}job_ref
WHERE ref_key > ? AND ref_key < ?
ORDER BY ref_key
LIMIT ?
