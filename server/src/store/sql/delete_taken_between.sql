-- Take jobs of one route and priority out of the ready table that stand in line from one place to another: the count must be
-- that of the rows that were found and locked there, or others stand between them.
DELETE FROM {p}job_ready
WHERE route_id = ? AND priority = ? AND {between:ready_time, job_id} AND expire_time > ?
{by_range:route_id, priority, ready_time, job_id}
