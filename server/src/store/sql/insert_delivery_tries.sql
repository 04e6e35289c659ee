-- Keep tries of notifications.
INSERT INTO {p}delivery_try (delivery_id, attempt, start_time, duration, http_status, error)
VALUES {rows:(?, ?, ?, ?, ?, ?)}
