-- Leases of sessions that are over.
SELECT
    l.job_id, l.epoch, l.nonce, l.month, l.claim,
    (SELECT c.received FROM {p}claim_loop AS c WHERE c.session_id = l.session_id AND c.loop_id = l.loop_id)
FROM {p}session AS s
JOIN {p}job_lease AS l ON l.session_id = s.session_id
WHERE s.state = ?
ORDER BY l.job_id
LIMIT ?
