-- Notifications in one state that are older than an id, oldest first.
SELECT t.delivery_id
FROM {p}delivery AS t
WHERE t.state = ? AND t.delivery_id < ?
ORDER BY t.delivery_id
LIMIT ?
