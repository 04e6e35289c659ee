-- Store notifications. An id that is taken refuses them all.
INSERT INTO {p}delivery (
    delivery_id, job_id, run, state, epoch, attempt_count, earlier_count, create_time,
    next_time, finish_time, address
)
VALUES {rows:(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
