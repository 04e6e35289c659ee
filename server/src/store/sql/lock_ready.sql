-- Lock the ready row that a job remembers.
SELECT t.epoch, t.attempt, t.crashes, t.unacknowledged, t.flags
FROM {p}job_ready AS t {force_pk}
WHERE t.route_id = ? AND t.priority = ? AND t.ready_time = ? AND t.job_id = ?
{for_update}
