-- Lock leases in ascending order of jobs, waiting for those that others hold locked; with the database's time.
SELECT
    t.job_id, t.month, t.run, t.epoch, t.nonce, t.session_id, t.loop_id, t.claim,
    t.route_id, t.priority, t.attempt, t.crashes, t.unacknowledged, t.timeout, t.size,
    t.start_time, t.deadline, t.flags, t.log_sequence, t.lane_id, {now}
FROM {p}job_lease AS t {force_pk}
WHERE t.job_id IN ({rows:?})
ORDER BY t.job_id
{for_update}
