-- These waits are over.
DELETE FROM {p}job_edge
WHERE {or:(parent_id = ? AND child_id = ?)}
{by:parent_id, child_id}
