-- Log lines of a job after a position, oldest first.
SELECT t.sequence, t.run, t.epoch, t.log_time, t.level, t.message, t.fields
FROM {a}{p}job_log_{m} AS t {force_pk}
WHERE t.job_id = ?
    AND (t.run > ? OR (t.run = ? AND t.epoch > ?) OR (t.run = ? AND t.epoch = ? AND t.sequence > ?))
    AND t.level >= ?
ORDER BY t.run, t.epoch, t.sequence
LIMIT ?
