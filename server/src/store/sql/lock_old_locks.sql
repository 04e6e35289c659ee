-- Lock the rows of locks in the order of their names, each only if its time was over before the one given.
SELECT t.name, t.token
FROM {p}named_lock AS t {force_pk}
WHERE t.name IN ({rows:?}) AND t.expire_time < ?
ORDER BY t.name
{for_update}
