-- Forget a lost session.
{delete session}
WHERE t.session_id = ? AND t.state = ?
