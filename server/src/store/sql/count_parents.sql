-- How many parents each child still waits for; none is no row.
SELECT child_id, COUNT(*)
FROM {p}job_edge
WHERE child_id IN ({rows:?})
GROUP BY child_id
