-- How many jobs wait for their turn in each lane. Reads the ready table from end to end, for dashboards, once in a while.
SELECT t.route_id, COUNT(*)
FROM {p}job_ready AS t
WHERE t.route_id = t.lane_id
GROUP BY t.route_id
