-- Lock what is kept of an outcome beside its columns.
SELECT t.detail
FROM {p}outcome_{m} AS t {force_pk}
WHERE t.job_id = ? AND t.run = ?
{for_update}
