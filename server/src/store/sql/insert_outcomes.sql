-- End runs: the primary key refuses a second outcome.
INSERT INTO {p}outcome_{m} (
    job_id, run, epoch, ending, attempt, crashes, start_time, finish_time, session_id, worker_process,
    log_sequence, result_kind, result_type, result, notify_time, detail
)
VALUES {rows:(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
