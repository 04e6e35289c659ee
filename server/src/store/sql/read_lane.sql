-- Who holds a lane, without waiting; no row: nobody ever did.
SELECT t.holder
FROM {p}lane AS t {force_pk}
WHERE t.lane_id = ?
