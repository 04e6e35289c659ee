-- A stretch of a month's outcomes in the order of jobs.
SELECT t.job_id, t.run, t.ending, t.finish_time
FROM {p}outcome_{m} AS t {force_pk}
WHERE t.job_id > ?
ORDER BY t.job_id, t.run
LIMIT ?
