-- Lock a row of upkeep: servers that tick at once do so one after the other.
SELECT t.value, t.amnesty_from
FROM {p}upkeep AS t {force_pk}
WHERE t.name = ?
{for_update}
