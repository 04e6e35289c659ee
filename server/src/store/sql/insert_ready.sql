-- Put jobs where claims find them.
INSERT INTO {p}job_ready (
    route_id, priority, ready_time, job_id, month, run, epoch, attempt, crashes, unacknowledged,
    timeout, size, expire_time, flags, lane_id, home_id, home_priority
)
VALUES {rows:(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
