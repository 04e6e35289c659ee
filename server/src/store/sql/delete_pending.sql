-- One thing that followed is done. No row: it was done before.
DELETE FROM {p}job_pending
WHERE job_id = ? AND run = ? AND kind = ?
