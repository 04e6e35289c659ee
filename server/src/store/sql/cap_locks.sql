-- After the clock stepped back: no lock is held for longer than its lease time from now.
UPDATE {p}named_lock AS t {force_pk}
SET expire_time = CAST(? AS SIGNED) + t.lease_time
WHERE t.expire_time > CAST(? AS SIGNED) + t.lease_time
