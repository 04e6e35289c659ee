-- What jobs ask for whose ids stand in a row.
SELECT t.job_id, t.create_time, t.request_kind, t.request_type, t.request, t.spec
FROM {a}{p}job_{m} AS t {force_pk}
WHERE t.job_id >= ? AND t.job_id <= ?
