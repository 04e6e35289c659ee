-- Give a lock to its next holder: one row, or its row was not locked.
UPDATE {p}named_lock AS t {force_pk}
SET secret = ?, owner = ?, token = ?, lease_time = ?, acquire_time = ?, expire_time = ?, server_id = ?
WHERE t.name = ? AND t.token = ?
