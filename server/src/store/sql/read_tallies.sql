-- What happened since a time, hour by hour.
SELECT
    t.slot_time, t.route_id, t.enqueued, t.completed, t.failed, t.cancelled, t.retried, t.took, t.last_time, t.last_job
FROM {p}tally AS t {force_pk}
WHERE t.slot_time >= ?
