-- Lock ready rows by their keys: those that were claimed, moved or cancelled meanwhile are missing.
SELECT
    t.route_id, t.priority, t.ready_time, t.job_id, t.month, t.run, t.epoch, t.attempt, t.crashes, t.unacknowledged,
    t.timeout, t.size, t.expire_time, t.flags, t.lane_id, t.home_id, t.home_priority
FROM {p}job_ready AS t {force_pk}
WHERE {any:t.route_id, t.priority, t.ready_time, t.job_id}
ORDER BY t.route_id, t.priority, t.ready_time, t.job_id
{for_update}
