-- Those of the jobs after whose end something must still happen.
SELECT t.job_id
FROM {p}job_pending AS t {force_pk}
WHERE t.job_id IN ({rows:?})
