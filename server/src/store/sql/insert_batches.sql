-- Make the jobs of a batch findable, a stretch a row.
INSERT INTO {p}job_batch_{m} (batch_id, first_id, last_id)
VALUES {rows:(?, ?, ?)}
