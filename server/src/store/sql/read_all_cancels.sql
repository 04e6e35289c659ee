-- Every cancel request that is pending: a sparse table, read whole.
SELECT job_id, epoch, reason, force_time, superseded
FROM {p}job_cancel
