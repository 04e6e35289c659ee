-- Forget the expiry of a job that is no more, among those that are due.
{delete job_expire}
WHERE t.expire_time <= ? AND t.job_id = ?
