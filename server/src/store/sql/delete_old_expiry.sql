-- Forget the expiry of a job that is no more, among those that are due.
DELETE FROM {p}job_expire
WHERE expire_time <= ? AND job_id = ?
