-- What is set for queues: a sparse table, read whole.
SELECT name, pause_time, pause_reason, concurrency, rate_count, rate_period
FROM {p}queue
