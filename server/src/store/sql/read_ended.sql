-- Those of the jobs whose end somebody still waits to be told.
SELECT t.job_id
FROM {p}job_ended AS t {force_pk}
WHERE t.job_id IN ({rows:?})
