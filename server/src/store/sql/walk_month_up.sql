-- Jobs of a month, oldest first.
SELECT t.job_id
FROM {a}{p}job_{m} AS t {force_pk}
WHERE t.job_id > ?
ORDER BY t.job_id
LIMIT ?
