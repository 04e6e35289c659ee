-- Give keys back, each only if its holder is still the one that was seen.
{delete job_ref}
WHERE {or:(t.ref_key = ? AND t.job_id = ?)}
