-- Renew sessions that are not lost: the count must be that of the ids.
UPDATE {p}session AS t {force_pk}
SET
    beat = CASE t.session_id {each:WHEN ? THEN CAST(? AS SIGNED)} ELSE t.beat END,
    server_id = CASE t.session_id {each:WHEN ? THEN CAST(? AS SIGNED)} ELSE t.server_id END,
    expire_time = CAST(? AS SIGNED) + t.lease_time
WHERE t.session_id IN ({rows:?}) AND t.state <> ?
