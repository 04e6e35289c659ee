-- Forget notifications.
DELETE FROM {p}delivery
WHERE delivery_id IN ({rows:?})
{by:delivery_id}
