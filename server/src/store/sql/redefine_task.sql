-- Change what a task is, as it was seen.
UPDATE {p}recurring_task AS t {force_pk}
SET update_time = ?, definition = ?, request_kind = ?, request_type = ?, request = ?
WHERE t.task_id = ? AND t.revision = ?
