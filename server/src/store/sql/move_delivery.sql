-- Move a notification on. Changes nothing when another did: the caller must see one row.
UPDATE {p}delivery AS t {force_pk}
SET state = ?, epoch = ?, attempt_count = ?, earlier_count = ?, next_time = ?, finish_time = ?
WHERE t.delivery_id = ? AND t.epoch = ? AND t.state = ?
