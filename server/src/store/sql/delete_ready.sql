-- Take jobs out of the ready table: the count must be that of the keys and epochs, or another claim won.
DELETE FROM {p}job_ready
WHERE {or:(route_id = ? AND priority = ? AND ready_time = ? AND job_id = ? AND epoch = ?)}
{by:route_id, priority, ready_time, job_id}
