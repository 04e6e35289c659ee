-- A transient run leaves its lane: one row, or it had left before.
DELETE FROM {p}lane_lease
WHERE lane_id = ? AND job_id = ?
