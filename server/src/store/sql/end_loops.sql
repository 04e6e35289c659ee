-- Refuse every claim and handoff of a session that comes from now on.
UPDATE {p}claim_loop AS t {force_pk}
SET sequence = 9223372036854775807
WHERE t.session_id = ?
