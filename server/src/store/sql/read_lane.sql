-- Who holds a lane, without waiting.
SELECT t.holder
FROM {p}lane AS t {force_pk}
WHERE t.lane_id = ?
