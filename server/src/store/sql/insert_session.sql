-- Store a session; one of the same id, drawn at random, can only be a repeat.
{insert_new} INTO {p}session (
    session_id, state, name, instance_id, served, lease_time, create_time, expire_time, beat, server_id,
    completed, failed
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)
