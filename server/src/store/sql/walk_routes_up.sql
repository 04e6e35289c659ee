-- Jobs that have not ended, of some routes where they wait, oldest first. Reads those routes whole, and what runs.
SELECT w.job_id
FROM (
    SELECT r.job_id FROM {p}job_ready AS r {force_pk} WHERE r.route_id IN ({rows:?}) AND r.job_id > ?
    UNION
    SELECT l.job_id FROM {p}job_lease AS l WHERE l.job_id > ?
) AS w
ORDER BY w.job_id
LIMIT ?
