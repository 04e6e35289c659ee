-- Forget the claim loops of a session.
DELETE FROM {p}claim_loop
WHERE session_id = ?
