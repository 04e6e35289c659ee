-- As views.sql, but without requests and results, which may be large: for lists.
SELECT
    j.job_id, j.run, j.run_time, j.create_time, j.route_id, j.priority, j.ready_time,
    j.digest, 0 AS request_kind, NULL AS request_type, NULL AS request, j.spec,
    r.epoch AS ready_epoch, r.attempt AS ready_attempt, r.crashes AS ready_crashes,
    r.unacknowledged AS ready_unacknowledged, r.lane_id AS ready_lane_id,
    l.job_id, l.month, l.run, l.epoch, l.nonce, l.session_id, l.loop_id, l.claim,
    l.route_id, l.priority, l.attempt, l.crashes, l.unacknowledged, l.timeout, l.size,
    l.start_time, l.deadline, l.flags, l.log_sequence, l.lane_id,
    s.name AS session_name,
    o.epoch AS outcome_epoch, o.ending, o.attempt AS outcome_attempt, o.crashes AS outcome_crashes,
    o.start_time AS outcome_start_time, o.finish_time, o.session_id AS outcome_session_id, o.worker_process,
    o.log_sequence AS outcome_log_sequence, 0 AS result_kind, NULL AS result_type, NULL AS result, o.notify_time, o.detail,
    g.progress, g.status,
    c.reason, c.force_time
FROM {a}{p}job_{m} AS j {force_pk}
LEFT JOIN {p}job_ready AS r
    ON r.route_id = j.route_id AND r.priority = j.priority AND r.ready_time = j.ready_time AND r.job_id = j.job_id
LEFT JOIN {p}job_lease AS l ON l.job_id = j.job_id
LEFT JOIN {p}session AS s ON s.session_id = l.session_id
LEFT JOIN {a}{p}outcome_{m} AS o ON o.job_id = j.job_id AND o.run = j.run
LEFT JOIN {p}job_progress AS g ON g.job_id = j.job_id
LEFT JOIN {p}job_cancel AS c ON c.job_id = l.job_id
WHERE j.job_id IN ({rows:?})
