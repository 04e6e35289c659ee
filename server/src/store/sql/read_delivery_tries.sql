-- The tries of notifications, oldest first.
SELECT t.delivery_id, t.attempt, t.start_time, t.duration, t.http_status, t.error
FROM {p}delivery_try AS t {force_pk}
WHERE t.delivery_id IN ({rows:?})
ORDER BY t.delivery_id, t.attempt
