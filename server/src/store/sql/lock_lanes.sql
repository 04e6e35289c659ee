-- Lock lanes in ascending order.
SELECT t.lane_id, t.holder
FROM {p}lane AS t {force_pk}
WHERE t.lane_id IN ({rows:?})
ORDER BY t.lane_id
{for_update}
