-- Take back leases as they were seen: the count must be theirs, or one was lost, or something was noted on it since.
DELETE FROM {p}job_lease
WHERE {any:job_id, epoch, nonce, flags, log_sequence}
{by:job_id}
