-- Lost sessions that hold nothing any more.
SELECT t.session_id
FROM {p}session AS t
WHERE t.state = ? AND t.expire_time < ?
    AND NOT EXISTS (SELECT 1 FROM {p}job_lease AS l WHERE l.session_id = t.session_id)
ORDER BY t.session_id
LIMIT ?
