-- Mark a running job as to be cancelled.
INSERT INTO {p}job_cancel (job_id, epoch, reason, force_time, superseded)
VALUES (?, ?, ?, ?, ?)
