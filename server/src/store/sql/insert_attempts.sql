-- Keep attempts that did not end their run.
INSERT INTO {p}job_attempt_{m} (
    job_id, run, epoch, attempt, ended, session_id, worker_process, start_time, finish_time, error
)
VALUES {rows:(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
