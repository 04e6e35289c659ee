-- How runs ended, by job and run.
SELECT t.job_id, t.run, t.epoch, t.ending
FROM {p}outcome_{m} AS t {force_pk}
WHERE {any:t.job_id, t.run}
