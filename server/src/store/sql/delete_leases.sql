-- Take back leases: the count must be that of the fences, or one was lost.
DELETE FROM {p}job_lease
WHERE {or:(job_id = ? AND epoch = ? AND nonce = ?)}
{by:job_id}
