-- The place of the last of those who wait for their turn in a lane.
SELECT t.ready_time
FROM {p}job_ready AS t {force_pk}
WHERE t.route_id = ? AND t.priority = 0
ORDER BY t.ready_time DESC, t.job_id DESC
LIMIT 1
