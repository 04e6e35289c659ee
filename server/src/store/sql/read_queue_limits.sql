-- The limits of queues, and when their jobs started last.
SELECT t.name, t.concurrency, t.rate_count, t.rate_period, t.starts
FROM {p}queue AS t {force_pk}
WHERE t.name IN ({rows:?})
