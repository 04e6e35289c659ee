-- Lock sessions in the order of their ids.
SELECT t.session_id, t.state, t.lease_time, t.beat
FROM {p}session AS t {force_pk}
WHERE t.session_id IN ({rows:?})
ORDER BY t.session_id
{for_update}
