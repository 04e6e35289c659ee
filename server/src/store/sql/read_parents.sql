-- The parents that a child still waits for.
SELECT parent_id
FROM {p}job_edge
WHERE child_id = ?
ORDER BY parent_id
