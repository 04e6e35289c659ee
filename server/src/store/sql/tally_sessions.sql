-- Add to what sessions completed and what failed of them.
UPDATE {p}session AS t {force_pk}
SET
    completed = t.completed + CASE t.session_id {each:WHEN ? THEN CAST(? AS SIGNED)} ELSE 0 END,
    failed = t.failed + CASE t.session_id {each:WHEN ? THEN CAST(? AS SIGNED)} ELSE 0 END
WHERE t.session_id IN ({rows:?})
