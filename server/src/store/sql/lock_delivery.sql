-- Lock a notification: who tries, ends or replays it at the same time waits.
SELECT
    t.delivery_id, t.job_id, t.run, t.state, t.epoch, t.attempt_count, t.earlier_count, t.create_time,
    t.next_time, t.finish_time, t.address
FROM {p}delivery AS t {force_pk}
WHERE t.delivery_id = ?
{for_update}
