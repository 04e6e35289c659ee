-- Lease jobs of one route and priority as they stand in line, from one place to another: the count must be that of the rows
-- that were found and locked there, or others stand between them.
INSERT INTO {p}job_lease (
    job_id, month, run, epoch, nonce, session_id, loop_id, claim, route_id, priority, attempt, crashes,
    unacknowledged, timeout, size, start_time, deadline, flags, log_sequence, lane_id
)
SELECT
    t.job_id, t.month, t.run, CASE WHEN t.epoch < ? THEN ? ELSE t.epoch + 1 END, ?, ?, ?, ?, t.route_id, t.priority,
    t.attempt + 1, t.crashes, t.unacknowledged, t.timeout, t.size, ?,
    CASE WHEN t.timeout > ? THEN ? ELSE t.timeout + ? END, t.flags, 0, t.lane_id
FROM {p}job_ready AS t {force_pk}
WHERE t.route_id = ? AND t.priority = ? AND {between:t.ready_time, t.job_id} AND t.expire_time > ?
