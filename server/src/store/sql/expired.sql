-- Jobs whose expire time is over.
SELECT job_id
FROM {p}job_expire
WHERE expire_time < ?
ORDER BY expire_time, job_id
LIMIT ?
