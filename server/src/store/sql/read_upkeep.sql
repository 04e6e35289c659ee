-- The last tick, and when the latest outage was noticed.
SELECT t.value, t.amnesty_from
FROM {p}upkeep AS t {force_pk}
WHERE t.name = ?
