-- A stretch of locks in the order of their names, held or not, each with when the server that its last renewal came through
-- was last alive, and since when.
SELECT
    t.name, t.secret, t.owner, t.token, t.lease_time, t.acquire_time, t.expire_time, t.server_id,
    s.beat_time, s.alive_since
FROM {p}named_lock AS t {force_pk}
LEFT JOIN {p}server AS s ON s.server_id = t.server_id
WHERE t.name > ? AND t.name >= ? AND t.name < ?
ORDER BY t.name
LIMIT ?
