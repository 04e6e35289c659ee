-- The outcomes of a job's runs, without their results.
SELECT
    t.job_id, t.run, t.epoch, t.ending, t.attempt, t.crashes, t.start_time, t.finish_time, t.session_id,
    t.worker_process, t.detail
FROM {a}{p}outcome_{m} AS t {force_pk}
WHERE t.job_id = ?
