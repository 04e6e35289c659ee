-- Note on leases that rows of theirs exist in a sparse table.
UPDATE {p}job_lease AS t {force_pk}
SET flags = t.flags | ?
WHERE t.job_id IN ({rows:?})
