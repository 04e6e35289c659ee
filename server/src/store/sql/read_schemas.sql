-- The JSON Schemas of commands as declared last.
SELECT t.command, t.request_schema
FROM {p}command AS t {force_pk}
WHERE t.command IN ({rows:?})
