-- The head of each route and priority: a walk that dives into the clustered key once a group.
-- Differs from MySQL, which does the same by itself as a loose index scan.
WITH RECURSIVE head (route_id, priority) AS (
    SELECT *
    FROM (SELECT route_id, priority FROM {p}job_ready ORDER BY route_id, priority LIMIT 1)
    UNION ALL
    SELECT
        (SELECT r.route_id FROM {p}job_ready AS r WHERE (r.route_id, r.priority) > (h.route_id, h.priority)
         ORDER BY r.route_id, r.priority LIMIT 1),
        (SELECT r.priority FROM {p}job_ready AS r WHERE (r.route_id, r.priority) > (h.route_id, h.priority)
         ORDER BY r.route_id, r.priority LIMIT 1)
    FROM head AS h
    WHERE h.route_id IS NOT NULL
)
SELECT
    h.route_id,
    h.priority,
    (SELECT MIN(r.ready_time) FROM {p}job_ready AS r WHERE r.route_id = h.route_id AND r.priority = h.priority)
FROM head AS h
WHERE h.route_id IS NOT NULL
