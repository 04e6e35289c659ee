-- What must still follow the end of a run.
SELECT COUNT(*)
FROM {p}job_pending AS t {force_pk}
WHERE t.job_id = ? AND t.run = ?
