-- Forget jobs that are past their retention; their rows are locked by that of the job.
DELETE FROM {p}job_attempt_{m}
WHERE job_id IN ({rows:?})
