-- Forget the expiry of a job that started or ended.
{delete job_expire}
WHERE t.expire_time = ? AND t.job_id = ?
