-- A task by its name.
SELECT
    t.task_id, t.name, t.revision, t.next_time, t.create_time, t.update_time, t.definition, t.standing,
    t.request_kind, t.request_type, t.request
FROM {p}recurring_task AS t
WHERE t.name = ?
