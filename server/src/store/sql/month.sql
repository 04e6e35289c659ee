-- The tables of one month. One re-runnable statement each; {m} is the month, as in 2026_11, and {a} the file that
-- holds it when a closed month of SQLite was moved.

-- Written once at enqueue and never moved; run, run_time and the ready key follow retries and requeues.
CREATE TABLE IF NOT EXISTS {a}{p}job_{m} (
    job_id {id} NOT NULL PRIMARY KEY,
    run BIGINT NOT NULL,
    run_time BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    route_id BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    ready_time BIGINT NOT NULL,
    digest {key:16} NOT NULL,
    request_kind BIGINT NOT NULL,
    request_type {text},
    spec {text} NOT NULL,                   -- model::Spec as JSON
    request {blob}
) {wide};

-- One row a run that has ended. Its key refuses a second outcome.
CREATE TABLE IF NOT EXISTS {a}{p}outcome_{m} (
    job_id BIGINT NOT NULL,
    run BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    ending BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    crashes BIGINT NOT NULL,
    start_time BIGINT NOT NULL,             -- 0: never started
    finish_time BIGINT NOT NULL,
    session_id {key:16} NOT NULL,           -- empty: never started
    worker_process {text},
    log_sequence BIGINT NOT NULL,
    notify_time BIGINT NOT NULL,            -- 0: what follows has not ended, or nothing does
    detail {text},                          -- end, error, cancellation, status .. as JSON; NULL for a plain success
    result_kind BIGINT NOT NULL,
    result_type {text},
    result {blob},
    PRIMARY KEY (job_id, run)
) {narrow};

-- Attempts that did not end a run: retried, released, crashed. The outcome row tells of the one that did.
CREATE TABLE IF NOT EXISTS {a}{p}job_attempt_{m} (
    job_id BIGINT NOT NULL,
    run BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    session_id {key:16} NOT NULL,
    worker_process {text},
    start_time BIGINT NOT NULL,
    finish_time BIGINT NOT NULL,
    error {text},
    PRIMARY KEY (job_id, run, epoch)
) {narrow};

CREATE TABLE IF NOT EXISTS {a}{p}job_log_{m} (
    job_id BIGINT NOT NULL,
    run BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    log_time BIGINT NOT NULL,
    level BIGINT NOT NULL,
    message {text} NOT NULL,
    fields {text},
    PRIMARY KEY (job_id, run, epoch, sequence)
) {narrow};

-- One row for each set option that lists can filter by, but the batch id; written at enqueue, or at the end of a failed run.
CREATE TABLE IF NOT EXISTS {a}{p}job_label_{m} (
    kind BIGINT NOT NULL,
    value {key:1020} NOT NULL,
    job_id BIGINT NOT NULL,
    PRIMARY KEY (kind, value, job_id)
) {narrow};

-- Jobs first to last, each of which has this batch id among its options and was stored by the same transaction: a batch of a
-- thousand is one row, a job that was enqueued alone a stretch of one. The stretches of one batch id hold no job twice and no
-- other job, so that they do not overlap. A stretch of one is deleted when its job is forgotten; a longer one stays until its
-- month is dropped, and may name jobs that are gone.
CREATE TABLE IF NOT EXISTS {a}{p}job_batch_{m} (
    batch_id {key:1020} NOT NULL,
    first_id BIGINT NOT NULL,
    last_id BIGINT NOT NULL,
    PRIMARY KEY (batch_id, first_id)
) {narrow};
