-- Take locked jobs of one route and priority out of the ready table: the count must be that of the keys and epochs.
-- Differs from SQLite in the list of rows. It goes by the keys, not by the range: others may have locked rows of it.
DELETE FROM {p}job_ready
WHERE
    route_id = ? AND priority = ? AND ready_time >= ? AND ready_time <= ?
    AND (ready_time, job_id, epoch) IN ({rows:(?, ?, ?)})
{by:route_id, priority, ready_time, job_id}
