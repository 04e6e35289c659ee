-- The cancel requests of jobs.
SELECT t.job_id, t.epoch, t.reason, t.force_time, t.superseded
FROM {p}job_cancel AS t {force_pk}
WHERE t.job_id IN ({rows:?})
