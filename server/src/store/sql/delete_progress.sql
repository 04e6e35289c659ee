-- Forget progress, status and checkpoint of ended jobs.
DELETE FROM {p}job_progress
WHERE job_id IN ({rows:?})
{by:job_id}
