-- The reaper's last tick and amnesty, with when a server was last alive, and since when.
SELECT u.value, u.amnesty_from, s.beat_time, s.alive_since
FROM {p}upkeep AS u {force_pk}
LEFT JOIN {p}server AS s ON s.server_id = ?
WHERE u.name = ?
