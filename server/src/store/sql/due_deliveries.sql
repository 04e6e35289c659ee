-- Notifications whose time has come, and those whose try told nothing in time.
SELECT t.delivery_id
FROM {p}delivery AS t
WHERE t.next_time <= ?
ORDER BY t.next_time
LIMIT ?
