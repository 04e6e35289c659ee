-- Forget the expiry of a job that started or ended.
DELETE FROM {p}job_expire
WHERE expire_time = ? AND job_id = ?
