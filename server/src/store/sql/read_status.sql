-- The status lines of jobs that reported one.
SELECT t.job_id, t.status
FROM {p}job_progress AS t {force_pk}
WHERE t.job_id IN ({rows:?})
