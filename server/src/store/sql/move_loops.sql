-- Store sequences with what they lease: each row counts only if its sequence grows.
UPDATE {p}claim_loop AS t {force_pk}
SET sequence = CASE {each:WHEN t.session_id = ? AND t.loop_id = ? THEN CAST(? AS SIGNED)} ELSE t.sequence END
WHERE {or:(t.session_id = ? AND t.loop_id = ? AND t.sequence < ?)}
