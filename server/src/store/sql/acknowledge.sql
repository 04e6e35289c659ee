-- Note the highest claim answer that arrived; never a lower one.
UPDATE {p}claim_loop AS t {force_pk}
SET received = CASE {each:WHEN t.session_id = ? AND t.loop_id = ? THEN CAST(? AS SIGNED)} ELSE t.received END
WHERE {or:(t.session_id = ? AND t.loop_id = ? AND t.received < ?)}
