-- The jobs of lanes that run now. Reads every lease: they are bounded by the slots of all worker processes.
SELECT lane_id, job_id
FROM {p}job_lease
WHERE lane_id <> 0
