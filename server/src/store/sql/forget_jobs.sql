-- Forget jobs that are past their retention; their rows are locked by that of the job.
DELETE FROM {p}job_{m}
WHERE job_id IN ({rows:?})
