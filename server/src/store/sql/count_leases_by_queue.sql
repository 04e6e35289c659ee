-- How many jobs of queues run, counted from their leases, whoever made their routes. Reads every lease: they are bounded
-- by the slots of all worker processes.
SELECT r.queue, COUNT(*)
FROM {p}job_lease AS l
JOIN {p}route AS r ON r.route_id = l.route_id
WHERE r.queue IN ({rows:?})
GROUP BY r.queue
