-- What a session holds, with how far each lease's claim loop is acknowledged.
SELECT
    t.job_id, t.month, t.run, t.epoch, t.nonce, t.session_id, t.loop_id, t.claim,
    t.route_id, t.priority, t.attempt, t.crashes, t.unacknowledged, t.timeout, t.size,
    t.start_time, t.deadline, t.flags, t.log_sequence, t.lane_id,
    (SELECT c.received FROM {p}claim_loop AS c WHERE c.session_id = t.session_id AND c.loop_id = t.loop_id)
FROM {p}job_lease AS t
WHERE t.session_id = ?
