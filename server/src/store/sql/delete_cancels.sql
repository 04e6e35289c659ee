-- Forget cancel requests that were answered.
{delete job_cancel}
WHERE t.job_id IN ({rows:?})
