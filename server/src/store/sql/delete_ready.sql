-- Take jobs out of the ready table: the count must be that of the keys and epochs, or another claim won.
{delete job_ready}
WHERE {or:(t.route_id = ? AND t.priority = ? AND t.ready_time = ? AND t.job_id = ? AND t.epoch = ?)}
