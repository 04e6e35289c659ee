-- Rewrite what is kept of an outcome beside its columns; it was locked before.
UPDATE {p}outcome_{m} AS t {force_pk}
SET detail = ?
WHERE t.job_id = ? AND t.run = ?
