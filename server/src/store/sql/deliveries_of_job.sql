-- A job's notifications, newest first.
SELECT
    t.delivery_id, t.job_id, t.run, t.state, t.epoch, t.attempt_count, t.earlier_count, t.create_time,
    t.next_time, t.finish_time, t.address
FROM {p}delivery AS t
WHERE t.job_id = ? AND t.delivery_id < ?
ORDER BY t.delivery_id DESC
LIMIT ?
