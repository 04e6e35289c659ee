-- The last checkpoint of jobs that have one.
SELECT t.job_id, t.run, t.checkpoint_sequence, t.checkpoint_kind, t.checkpoint_type, t.checkpoint
FROM {p}job_progress AS t {force_pk}
WHERE t.job_id IN ({rows:?})
