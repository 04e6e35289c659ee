-- Lock limited queues in the order of their names: who leases their jobs does so one after the other.
SELECT t.name, t.concurrency, t.rate_count, t.rate_period, t.starts
FROM {p}queue AS t {force_pk}
WHERE t.name IN ({rows:?})
ORDER BY t.name
{for_update}
