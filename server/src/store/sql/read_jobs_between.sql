-- Jobs whose ids stand in a row.
SELECT
    t.job_id, t.run, t.run_time, t.create_time, t.route_id, t.priority, t.ready_time,
    t.digest, t.request_kind, t.request_type, t.request, t.spec
FROM {a}{p}job_{m} AS t {force_pk}
WHERE t.job_id >= ? AND t.job_id <= ?
