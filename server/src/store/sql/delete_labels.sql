-- Forget labels of jobs that are forgotten.
DELETE FROM {p}job_label_{m}
WHERE {any:kind, value, job_id}
{by:kind, value, job_id}
