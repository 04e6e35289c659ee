-- End runs well and with one result, out of leases of one claim for jobs in a row, nothing noted on any of them: the count must
-- be theirs. A nonce is that of one claim alone.
INSERT INTO {p}outcome_{m} (
    job_id, run, epoch, ending, attempt, crashes, start_time, finish_time, session_id, worker_process,
    log_sequence, result_kind, result_type, result, notify_time, detail
)
SELECT
    t.job_id, t.run, t.epoch, ?, t.attempt, t.crashes, t.start_time, ?, t.session_id, ?,
    0, ?, ?, ?, 0, NULL
FROM {p}job_lease AS t {force_pk}
WHERE t.job_id >= ? AND t.job_id <= ? AND t.nonce = ? AND t.flags = 0 AND t.log_sequence = 0
