-- Everybody was told of this end.
DELETE FROM {p}job_ended
WHERE job_id = ? AND run = ?
