-- Change how a task stands, as it was seen and due as it was seen: one row, or somebody was faster.
UPDATE {p}recurring_task AS t {force_pk}
SET revision = ?, next_time = ?, standing = ?
WHERE t.task_id = ? AND t.revision = ? AND t.next_time = ?
