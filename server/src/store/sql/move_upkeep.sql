-- Store a tick.
UPDATE {p}upkeep AS t {force_pk}
SET value = ?, amnesty_from = ?
WHERE t.name = ?
