-- Note up to which line a lease's log is stored: each row counts only if it stands where it was seen.
UPDATE {p}job_lease AS t {force_pk}
SET log_sequence = CASE t.job_id {each:WHEN ? THEN CAST(? AS SIGNED)} ELSE t.log_sequence END
WHERE {or:(t.job_id = ? AND t.epoch = ? AND t.nonce = ? AND t.log_sequence = ?)}
