-- Give keys back, each only if its holder is still the one that was seen.
DELETE FROM {p}job_ref
WHERE {or:(ref_key = ? AND job_id = ?)}
{by:ref_key}
