-- One session.
SELECT
    t.session_id, t.state, t.name, t.instance_id, t.served, t.lease_time, t.create_time, t.expire_time, t.beat,
    t.server_id, t.completed, t.failed
FROM {p}session AS t {force_pk}
WHERE t.session_id = ?
