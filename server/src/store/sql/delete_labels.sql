-- Forget labels of jobs that are forgotten.
DELETE FROM {p}job_label_{m}
WHERE {or:(kind = ? AND value = ? AND job_id = ?)}
{by:kind, value, job_id}
