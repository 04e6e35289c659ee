-- Add to what happened to the jobs of routes and lanes. The time of the last run comes after its job, since MySQL assigns
-- in order and compares with what it has assigned.
INSERT INTO {p}tally (
    slot_time, route_id, enqueued, completed, failed, cancelled, retried, took, last_time, last_job
)
VALUES {rows:(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
{upsert:slot_time, route_id}
    enqueued = {old:enqueued} + {new:enqueued},
    completed = {old:completed} + {new:completed},
    failed = {old:failed} + {new:failed},
    cancelled = {old:cancelled} + {new:cancelled},
    retried = {old:retried} + {new:retried},
    took = {old:took} + {new:took},
    last_job = CASE WHEN {new:last_time} > {old:last_time} THEN {new:last_job} ELSE {old:last_job} END,
    last_time = CASE WHEN {new:last_time} > {old:last_time} THEN {new:last_time} ELSE {old:last_time} END
