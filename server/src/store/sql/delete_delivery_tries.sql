-- Forget the tries of a notification.
DELETE FROM {p}delivery_try
WHERE delivery_id = ?
