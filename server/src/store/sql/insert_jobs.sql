-- Store jobs, each once: a taken id is an error.
INSERT INTO {p}job_{m} (
    job_id, run, run_time, create_time, route_id, priority, ready_time,
    digest, request_kind, request_type, request, spec
)
VALUES {rows:(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
