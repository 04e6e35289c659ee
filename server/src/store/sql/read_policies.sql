-- What decides about a job after an attempt.
SELECT t.job_id, t.run_time, t.spec
FROM {p}job_{m} AS t {force_pk}
WHERE t.job_id IN ({rows:?})
