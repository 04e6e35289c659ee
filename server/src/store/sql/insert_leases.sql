-- Lease jobs: the primary key refuses a second lease of a job whatever was locked before.
INSERT INTO {p}job_lease (
    job_id, month, run, epoch, nonce, session_id, loop_id, claim, route_id, priority, attempt, crashes,
    unacknowledged, timeout, size, start_time, deadline, flags, log_sequence, lane_id
)
VALUES {rows:(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
