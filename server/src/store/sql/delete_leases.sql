-- Take back leases: the count must be that of the fences, or one was lost.
{delete job_lease}
WHERE {or:(t.job_id = ? AND t.epoch = ? AND t.nonce = ?)}
