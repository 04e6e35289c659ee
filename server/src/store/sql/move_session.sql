-- Change a session's state, unless it is lost already.
UPDATE {p}session AS t {force_pk}
SET state = ?
WHERE t.session_id = ? AND t.state <> ?
