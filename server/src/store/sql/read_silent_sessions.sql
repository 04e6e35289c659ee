-- Sessions whose time is over, with when the server that their last heartbeat went through was last alive, and since when.
SELECT t.session_id, t.lease_time, t.expire_time, s.beat_time, s.alive_since
FROM {p}session AS t
LEFT JOIN {p}server AS s ON s.server_id = t.server_id
WHERE t.state <> ? AND t.expire_time < ?
ORDER BY t.session_id
