-- Note up to which line a lease's log is stored: each row counts only if it stands where it was seen.
UPDATE {p}job_lease AS t {force_pk}
SET log_sequence = CASE t.job_id {each:WHEN ? THEN CAST(? AS SIGNED)} ELSE t.log_sequence END
WHERE {any:t.job_id, t.epoch, t.nonce, t.log_sequence}
