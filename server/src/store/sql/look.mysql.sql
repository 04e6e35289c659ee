-- The head of each route and priority: a loose index scan, one dive into the clustered key a group.
-- Differs from SQLite, which has no loose scan and walks by recursion.
SELECT route_id, priority, MIN(ready_time)
FROM {p}job_ready
GROUP BY route_id, priority
