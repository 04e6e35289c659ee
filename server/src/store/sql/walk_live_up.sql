-- Jobs that have not ended, oldest first. Reads the live tables whole: they are small unless there is a backlog.
SELECT w.job_id
FROM (
    SELECT r.job_id FROM {p}job_ready AS r WHERE r.job_id > ?
    UNION
    SELECT l.job_id FROM {p}job_lease AS l WHERE l.job_id > ?
) AS w
ORDER BY w.job_id
LIMIT ?
