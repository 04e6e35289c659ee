-- A run that has ended and that others wait for, one that nobody else is dealing with.
SELECT t.job_id, t.run, t.ending, t.callback_of, t.callback_of_run
FROM {p}job_ended AS t {force_pk}
ORDER BY t.job_id, t.run
LIMIT 1
{skip_locked}
