-- Does a month have a job that waits or runs, or whose end somebody still waits for?
SELECT 1
FROM (SELECT 1 AS one) AS single
WHERE EXISTS (SELECT 1 FROM {p}job_ready AS r WHERE r.month = ?)
    OR EXISTS (SELECT 1 FROM {p}job_lease AS l WHERE l.month = ?)
    OR EXISTS (SELECT 1 FROM {p}job_pending AS q JOIN {p}job_{m} AS j ON j.job_id = q.job_id)
    OR EXISTS (SELECT 1 FROM {p}job_ended AS e JOIN {p}job_{m} AS k ON k.job_id = e.job_id)
