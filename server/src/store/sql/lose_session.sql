-- Mark a session as lost: one row, or it beat meanwhile or was lost already.
UPDATE {p}session AS t {force_pk}
SET state = ?
WHERE t.session_id = ? AND t.state <> ? AND t.expire_time = ?
