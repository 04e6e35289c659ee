-- The attempts of a job that did not end a run.
SELECT t.job_id, t.run, t.epoch, t.attempt, t.ended, t.session_id, t.worker_process, t.start_time, t.finish_time, t.error
FROM {a}{p}job_attempt_{m} AS t {force_pk}
WHERE t.job_id = ?
