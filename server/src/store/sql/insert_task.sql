-- Make a task; one of that name is left alone, and the count tells.
{insert_new} INTO {p}recurring_task (
    task_id, name, revision, next_time, create_time, update_time, definition, standing, request_kind, request_type, request
)
VALUES {rows:(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
