-- Does a month have a job that waits or runs?
SELECT 1
FROM (SELECT 1 AS one) AS single
WHERE EXISTS (SELECT 1 FROM {p}job_ready AS r WHERE r.month = ?)
    OR EXISTS (SELECT 1 FROM {p}job_lease AS l WHERE l.month = ?)
