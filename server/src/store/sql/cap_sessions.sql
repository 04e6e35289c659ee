-- After the clock stepped back: no session lives longer than its lease time from now.
UPDATE {p}session AS t {force_pk}
SET expire_time = CAST(? AS SIGNED) + t.lease_time
WHERE t.state <> ? AND t.expire_time > CAST(? AS SIGNED) + t.lease_time
