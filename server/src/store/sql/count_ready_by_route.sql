-- How many jobs of each route wait where, how many of them for their time, and since when the first could start. Reads the
-- ready table from end to end, for dashboards, once in a while.
SELECT route_id, home_id, COUNT(*), COUNT(CASE WHEN ready_time > ? THEN 1 END), MIN(ready_time)
FROM {p}job_ready
GROUP BY route_id, home_id
