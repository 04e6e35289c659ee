-- Forget jobs that are past their retention.
DELETE FROM {p}job_{m}
WHERE job_id IN ({rows:?})
{by:job_id}
