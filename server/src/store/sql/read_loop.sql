-- Where a claim loop stands.
SELECT t.sequence, t.received
FROM {p}claim_loop AS t {force_pk}
WHERE t.session_id = ? AND t.loop_id = ?
