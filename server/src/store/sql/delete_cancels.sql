-- Forget cancel requests that were answered.
DELETE FROM {p}job_cancel
WHERE job_id IN ({rows:?})
{by:job_id}
