-- Running jobs whose cancel grace is over.
SELECT
    l.job_id, l.epoch, l.nonce, l.month, l.claim,
    (SELECT r.received FROM {p}claim_loop AS r WHERE r.session_id = l.session_id AND r.loop_id = l.loop_id)
FROM {p}job_cancel AS c
JOIN {p}job_lease AS l ON l.job_id = c.job_id
WHERE c.force_time < ?
ORDER BY l.job_id
LIMIT ?
