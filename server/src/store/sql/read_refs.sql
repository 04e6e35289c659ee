-- Who holds these keys.
SELECT t.ref_key, t.job_id
FROM {p}job_ref AS t {force_pk}
WHERE t.ref_key IN ({rows:?})
