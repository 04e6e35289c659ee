-- Forget the claim loops of a session.
{delete claim_loop}
WHERE t.session_id = ?
