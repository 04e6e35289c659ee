-- Take jobs out of the ready table: the count must be that of the keys and epochs, or another claim won.
DELETE FROM {p}job_ready
WHERE {any:route_id, priority, ready_time, job_id, epoch}
{by:route_id, priority, ready_time, job_id}
