-- How many jobs wait before a place in a lane, counted up to a limit.
SELECT COUNT(*)
FROM (
    SELECT 1 AS one
    FROM {p}job_ready AS t {force_pk}
    WHERE t.route_id = ? AND t.priority = 0 AND t.ready_time < ?
    LIMIT ?
) AS counted
