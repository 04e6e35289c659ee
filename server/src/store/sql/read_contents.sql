-- What jobs ask for, by id.
SELECT t.job_id, t.create_time, t.request_kind, t.request_type, t.request, t.spec
FROM {a}{p}job_{m} AS t {force_pk}
WHERE t.job_id IN ({rows:?})
