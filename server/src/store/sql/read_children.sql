-- Children that wait for a parent, in order.
SELECT t.child_id, t.condition_code
FROM {p}job_edge AS t {force_pk}
WHERE t.parent_id = ?
ORDER BY t.child_id
LIMIT ?
