-- The first of those who wait for their turn in a lane. The lane's row is locked: nobody else takes it meanwhile.
SELECT
    t.route_id, t.priority, t.ready_time, t.job_id, t.month, t.run, t.epoch, t.attempt, t.crashes, t.unacknowledged,
    t.timeout, t.size, t.expire_time, t.flags, t.lane_id, t.home_id, t.home_priority
FROM {p}job_ready AS t {force_pk}
WHERE t.route_id = ? AND t.priority = 0
ORDER BY t.ready_time, t.job_id
LIMIT 1
{for_update}
