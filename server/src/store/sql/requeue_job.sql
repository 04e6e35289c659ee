-- Begin a new run: one row, or another requeue was faster.
UPDATE {p}job_{m} AS t {force_pk}
SET run = ?, run_time = ?, route_id = ?, priority = ?, ready_time = ?
WHERE t.job_id = ? AND t.run = ?
