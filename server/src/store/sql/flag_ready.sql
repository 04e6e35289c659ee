-- Note on a ready row that others wait for the job's end.
UPDATE {p}job_ready AS t {force_pk}
SET flags = t.flags | ?
WHERE t.route_id = ? AND t.priority = ? AND t.ready_time = ? AND t.job_id = ?
