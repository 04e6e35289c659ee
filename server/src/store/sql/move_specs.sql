-- Rewrite the options of a waiting job: its command's named worker has changed.
UPDATE {p}job_{m} AS t {force_pk}
SET spec = ?
WHERE t.job_id = ?
