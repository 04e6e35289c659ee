-- Forget a task as it was seen: one row, or somebody changed it meanwhile.
DELETE FROM {p}recurring_task
WHERE task_id = ? AND revision = ?
{by:task_id}
