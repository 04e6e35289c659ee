-- The outcome of one run.
SELECT
    t.epoch, t.ending, t.attempt, t.crashes, t.start_time, t.finish_time, t.session_id, t.worker_process,
    t.log_sequence, t.result_kind, t.result_type, t.result, t.notify_time, t.detail
FROM {a}{p}outcome_{m} AS t {force_pk}
WHERE t.job_id = ? AND t.run = ?
