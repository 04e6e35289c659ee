-- The due heads of one route and priority from a ready time on, passing over rows that others are taking.
SELECT
    t.ready_time, t.job_id, t.month, t.run, t.epoch, t.attempt, t.crashes, t.unacknowledged,
    t.timeout, t.size, t.flags, t.lane_id
FROM {p}job_ready AS t {force_pk}
WHERE t.route_id = ? AND t.priority = ? AND t.ready_time >= ? AND t.ready_time <= ? AND t.expire_time > ?
ORDER BY t.ready_time, t.job_id
LIMIT ?
{skip_locked}
