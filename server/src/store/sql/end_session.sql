-- Mark a session as lost at a time: one row, or it was lost already.
UPDATE {p}session AS t {force_pk}
SET state = ?, expire_time = ?
WHERE t.session_id = ? AND t.state <> ?
