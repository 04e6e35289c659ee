-- Sessions whose time is over, with when the server that their last heartbeat went through was last alive.
SELECT t.session_id, t.lease_time, t.expire_time, (SELECT s.beat_time FROM {p}server AS s WHERE s.server_id = t.server_id)
FROM {p}session AS t
WHERE t.state <> ? AND t.expire_time < ?
ORDER BY t.session_id
