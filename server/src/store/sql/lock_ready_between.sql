-- After the clock stepped back: jobs that were due before it did and are no longer.
SELECT
    t.route_id, t.priority, t.ready_time, t.job_id, t.month, t.run, t.epoch, t.attempt, t.crashes, t.unacknowledged,
    t.timeout, t.size, t.expire_time, t.flags, t.lane_id, t.home_id, t.home_priority
FROM {p}job_ready AS t {force_pk}
WHERE t.ready_time > ? AND t.ready_time <= ?
ORDER BY t.route_id, t.priority, t.ready_time, t.job_id
LIMIT ?
{for_update}
