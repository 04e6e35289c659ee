-- Hold a lock for longer. Changes nothing when it was lost: the caller must see one row.
UPDATE {p}named_lock AS t {force_pk}
SET lease_time = ?, expire_time = ?, server_id = ?
WHERE t.name = ? AND t.secret = ? AND t.token = ?
