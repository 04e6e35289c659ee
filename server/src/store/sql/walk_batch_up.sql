-- Stretches of a batch's jobs in a month that begin beyond an id, oldest first.
SELECT t.first_id, t.last_id
FROM {a}{p}job_batch_{m} AS t {force_pk}
WHERE t.batch_id = ? AND t.first_id > ?
ORDER BY t.first_id
LIMIT ?
