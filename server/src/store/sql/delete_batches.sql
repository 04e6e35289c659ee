-- Forget stretches of one job each, of jobs that are forgotten.
DELETE FROM {p}job_batch_{m}
WHERE {or:(batch_id = ? AND first_id = ? AND last_id = ?)}
{by:batch_id, first_id}
