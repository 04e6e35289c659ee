-- Is this job stored? Waits for a transaction that has not decided yet.
SELECT t.digest
FROM {p}job_{m} AS t {force_pk}
WHERE t.job_id = ?
{for_update}
