-- The names of worker processes.
SELECT t.session_id, t.name
FROM {p}session AS t {force_pk}
WHERE t.session_id IN ({rows:?})
