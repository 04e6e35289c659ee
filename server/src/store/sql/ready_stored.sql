-- Put jobs where claims find them, as they were stored a moment ago: in a row, and alike in all that their own rows do not say.
-- The count must be theirs.
INSERT INTO {p}job_ready (
    route_id, priority, ready_time, job_id, month, run, epoch, attempt, crashes, unacknowledged,
    timeout, size, expire_time, flags, lane_id, home_id, home_priority
)
SELECT
    t.route_id, t.priority, t.ready_time, t.job_id, ?, t.run, ?, ?, ?, ?,
    ?, ? + COALESCE(OCTET_LENGTH(t.request), 0), ?, ?, 0, t.route_id, t.priority
FROM {p}job_{m} AS t {force_pk}
WHERE t.job_id >= ? AND t.job_id <= ?
