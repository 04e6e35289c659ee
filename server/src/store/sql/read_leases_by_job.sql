-- Leases by job, without waiting.
SELECT
    t.job_id, t.month, t.run, t.epoch, t.nonce, t.session_id, t.loop_id, t.claim,
    t.route_id, t.priority, t.attempt, t.crashes, t.unacknowledged, t.timeout, t.size,
    t.start_time, t.deadline, t.flags, t.log_sequence, t.lane_id
FROM {p}job_lease AS t {force_pk}
WHERE t.job_id IN ({rows:?})
