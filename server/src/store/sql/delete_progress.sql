-- Forget progress and status of ended jobs; those that have a checkpoint keep it until their next run.
DELETE FROM {p}job_progress
WHERE {or:(job_id = ? AND checkpoint_sequence < 0)}
{by:job_id}
