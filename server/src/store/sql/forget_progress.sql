-- Forget progress, status and checkpoint: a new run begins without them.
DELETE FROM {p}job_progress
WHERE job_id = ?
