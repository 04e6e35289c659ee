-- Forget stretches of one job each, of jobs that are forgotten.
DELETE FROM {p}job_batch_{m}
WHERE {any:batch_id, first_id, last_id}
{by:batch_id, first_id}
