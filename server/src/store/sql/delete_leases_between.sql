-- Take back leases of jobs in a row, nothing noted on any of them: the count must be theirs, or one was lost, or something
-- was noted on it since. A nonce is that of one lease alone.
DELETE FROM {p}job_lease
WHERE job_id >= ? AND job_id <= ? AND flags = 0 AND log_sequence = 0 AND nonce IN ({rows:?})
{by:job_id}
