-- These waits are over.
DELETE FROM {p}job_edge
WHERE {any:parent_id, child_id}
{by:parent_id, child_id}
