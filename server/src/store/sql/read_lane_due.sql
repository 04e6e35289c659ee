-- Jobs of lanes whose time has come: keys, with their lanes. Nothing is locked: lanes come first.
SELECT t.ready_time, t.job_id, t.lane_id
FROM {p}job_ready AS t {force_pk}
WHERE t.route_id = ? AND t.priority = 0 AND t.ready_time <= ?
ORDER BY t.ready_time, t.job_id
LIMIT ?
