-- Lock the row of a lock, whoever holds it.
SELECT t.name, t.secret, t.owner, t.token, t.lease_time, t.acquire_time, t.expire_time, t.server_id
FROM {p}named_lock AS t {force_pk}
WHERE t.name = ?
{for_update}
