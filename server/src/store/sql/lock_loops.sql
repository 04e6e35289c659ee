-- Lock claim loops in the order of their keys: the first statement of every claim and handoff.
SELECT t.session_id, t.loop_id, t.sequence, t.received
FROM {p}claim_loop AS t {force_pk}
WHERE {any:t.session_id, t.loop_id}
ORDER BY t.session_id, t.loop_id
{for_update}
