-- Forget a queue for which nothing is set any more.
DELETE FROM {p}queue
WHERE name = ? AND pause_time = 0 AND concurrency = 0 AND rate_count = 0
