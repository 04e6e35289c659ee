-- The last tick.
SELECT t.value
FROM {p}upkeep AS t {force_pk}
WHERE t.name = ?
