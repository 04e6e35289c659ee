-- Let lanes pass to their next holders. The guard is the holder that was seen under the lock.
UPDATE {p}lane AS t {force_pk}
SET holder = CASE t.lane_id {each:WHEN ? THEN CAST(? AS SIGNED)} ELSE t.holder END
WHERE {any:t.lane_id, t.holder}
