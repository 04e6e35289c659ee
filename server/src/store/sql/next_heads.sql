-- The first row of the next priority of a route, and of the next route: a step of the walk over the heads of the ready
-- table. Each is one dive into the clustered key, which an optimiser cannot mistake for a reason to read it whole.
SELECT a.route_id, a.priority, a.ready_time
FROM (
    SELECT r.route_id, r.priority, r.ready_time
    FROM {p}job_ready AS r {force_pk}
    WHERE r.route_id = ? AND r.priority > ?
    ORDER BY r.route_id, r.priority, r.ready_time
    LIMIT 1
) AS a
UNION ALL
SELECT b.route_id, b.priority, b.ready_time
FROM (
    SELECT r.route_id, r.priority, r.ready_time
    FROM {p}job_ready AS r {force_pk}
    WHERE r.route_id > ?
    ORDER BY r.route_id, r.priority, r.ready_time
    LIMIT 1
) AS b
