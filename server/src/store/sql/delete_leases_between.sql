-- Take back leases of one claim for jobs in a row, nothing noted on any of them: the count must be theirs, or one was lost, or
-- something was noted on it since. A nonce is that of one claim alone.
DELETE FROM {p}job_lease
WHERE job_id >= ? AND job_id <= ? AND nonce = ? AND flags = 0 AND log_sequence = 0
{by_range:job_id}
