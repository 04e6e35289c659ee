-- Take jobs of one route and priority out of the ready table: the count must be that of the keys and epochs.
-- Differs from MySQL in the list of rows. It goes by the range of ready times: nobody else writes meanwhile.
DELETE FROM {p}job_ready
WHERE
    route_id = ? AND priority = ? AND ready_time >= ? AND ready_time <= ?
    AND (ready_time, job_id, epoch) IN (VALUES {rows:(?, ?, ?)})
