-- Give keys back, each only if its holder is still the one that was seen.
DELETE FROM {p}job_ref
WHERE {any:ref_key, job_id}
{by:ref_key}
