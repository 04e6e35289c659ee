-- How many jobs of each route run. Reads every lease: they are bounded by the slots of all worker processes.
SELECT route_id, COUNT(*)
FROM {p}job_lease
GROUP BY route_id
