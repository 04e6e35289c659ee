-- Forget a lost session.
DELETE FROM {p}session
WHERE session_id = ? AND state = ?
