-- Forget progress, status and checkpoint of ended jobs.
{delete job_progress}
WHERE t.job_id IN ({rows:?})
