-- The tables that stand for good. One re-runnable statement each; the words in braces are the dialect's, see
-- dialect.rs. A statement here never changes once it was released: what comes later is added at the end.

CREATE TABLE IF NOT EXISTS {p}id_block (
    name {key:32} NOT NULL PRIMARY KEY,
    next_id BIGINT NOT NULL,
    month BIGINT NOT NULL
) {narrow};

CREATE TABLE IF NOT EXISTS {p}month (
    month BIGINT NOT NULL PRIMARY KEY,
    first_id BIGINT NOT NULL,
    moved_to {text}                         -- SQLite: the file that a closed month was moved to
) {narrow};

CREATE TABLE IF NOT EXISTS {p}route (
    route_id BIGINT NOT NULL PRIMARY KEY,
    route_key {key:700} NOT NULL,           -- kind, queue, work: one canonical text
    queue {text} NOT NULL,
    kind BIGINT NOT NULL,
    work {text} NOT NULL,                   -- model::Work as JSON
    UNIQUE (route_key)
) {wide};

CREATE TABLE IF NOT EXISTS {p}job_ref (
    ref_key {key:1021} NOT NULL PRIMARY KEY, -- 'r' and a ref id, or 'q' and a request id
    job_id BIGINT NOT NULL,
    expire_time BIGINT NOT NULL
) {narrow};

CREATE TABLE IF NOT EXISTS {p}job_ready (
    route_id BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    ready_time BIGINT NOT NULL,
    job_id BIGINT NOT NULL,
    month BIGINT NOT NULL,
    run BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    crashes BIGINT NOT NULL,
    unacknowledged BIGINT NOT NULL,
    timeout BIGINT NOT NULL,                -- microseconds, for the lease's deadline
    size BIGINT NOT NULL,                   -- bytes of request and spec, for the limit of a claim answer
    expire_time BIGINT NOT NULL,            -- the largest int64: never
    flags BIGINT NOT NULL,                  -- LeaseFlags that outlive a lease (PROGRESS: a checkpoint may exist)
    lane_id BIGINT NOT NULL,                -- the route of its lane; 0: none
    home_id BIGINT NOT NULL,                -- the route and
    home_priority BIGINT NOT NULL,          -- priority by which it is claimed once it waits for nothing else
    PRIMARY KEY (route_id, priority, ready_time, job_id)
) {narrow};

CREATE TABLE IF NOT EXISTS {p}job_lease (
    job_id BIGINT NOT NULL PRIMARY KEY,
    month BIGINT NOT NULL,
    run BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    nonce BIGINT NOT NULL,
    session_id {key:16} NOT NULL,
    loop_id BIGINT NOT NULL,
    claim BIGINT NOT NULL,
    route_id BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    crashes BIGINT NOT NULL,
    unacknowledged BIGINT NOT NULL,
    timeout BIGINT NOT NULL,
    size BIGINT NOT NULL,
    start_time BIGINT NOT NULL,
    deadline BIGINT NOT NULL,
    flags BIGINT NOT NULL,
    log_sequence BIGINT NOT NULL,
    lane_id BIGINT NOT NULL{index:job_lease_session:session_id, loop_id, claim}
) {narrow};

{only:sqlite} CREATE INDEX IF NOT EXISTS {p}job_lease_session ON {p}job_lease (session_id, loop_id, claim);

CREATE TABLE IF NOT EXISTS {p}job_progress (
    job_id BIGINT NOT NULL PRIMARY KEY,
    run BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    progress DOUBLE PRECISION,
    status {text},
    checkpoint_sequence BIGINT NOT NULL,    -- -1: none
    checkpoint_kind BIGINT NOT NULL,
    checkpoint_type {text},
    checkpoint {blob},
    update_time BIGINT NOT NULL
) {wide};

CREATE TABLE IF NOT EXISTS {p}job_cancel (
    job_id BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    reason {text} NOT NULL,
    force_time BIGINT NOT NULL,
    superseded BIGINT NOT NULL              -- 1: a later run of its recurring task takes its place
) {narrow};

CREATE TABLE IF NOT EXISTS {p}job_expire (
    expire_time BIGINT NOT NULL,
    job_id BIGINT NOT NULL,
    PRIMARY KEY (expire_time, job_id)
) {narrow};

CREATE TABLE IF NOT EXISTS {p}session (
    session_id {key:16} NOT NULL PRIMARY KEY,
    state BIGINT NOT NULL,
    name {text} NOT NULL,
    instance_id {text} NOT NULL,
    served {text} NOT NULL,                 -- commands, queues, labels, slots as JSON
    lease_time BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    expire_time BIGINT NOT NULL,
    beat BIGINT NOT NULL,
    server_id BIGINT NOT NULL,
    completed BIGINT NOT NULL,              -- jobs it completed, and
    failed BIGINT NOT NULL                  -- attempts that failed: for people, added to every other second
) {wide};

CREATE TABLE IF NOT EXISTS {p}claim_loop (
    session_id {key:16} NOT NULL,
    loop_id BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    received BIGINT NOT NULL,
    PRIMARY KEY (session_id, loop_id)
) {narrow};

CREATE TABLE IF NOT EXISTS {p}server (
    server_id BIGINT NOT NULL PRIMARY KEY,
    about {text} NOT NULL,                  -- model::ServerAbout as JSON
    draining BIGINT NOT NULL,               -- 1: it is stopping
    start_time BIGINT NOT NULL,
    beat_time BIGINT NOT NULL,
    alive_since BIGINT NOT NULL             -- since when it has beaten without a gap
) {narrow};

CREATE TABLE IF NOT EXISTS {p}upkeep (
    name {key:64} NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL,
    amnesty_from BIGINT NOT NULL
) {narrow};

-- The lanes of named workers. The holder is the one job of the lane that may be claimed, is leased, or waits out a retry;
-- all others of it wait under the lane's own route.
CREATE TABLE IF NOT EXISTS {p}lane (
    lane_id BIGINT NOT NULL PRIMARY KEY,
    holder BIGINT NOT NULL                  -- 0: none
) {narrow};

-- Commands as worker processes declared them last.
CREATE TABLE IF NOT EXISTS {p}command (
    command {key:128} NOT NULL PRIMARY KEY,
    worker {text} NOT NULL,                 -- the named worker of its jobs; empty: none
    version {text} NOT NULL,
    request_schema {text},
    declare_time BIGINT NOT NULL,
    change_time BIGINT NOT NULL             -- when the named worker changed last
) {wide};

-- Children that wait for parents: one row an edge, deleted when the parent's end has been dealt with.
CREATE TABLE IF NOT EXISTS {p}job_edge (
    parent_id BIGINT NOT NULL,
    child_id BIGINT NOT NULL,
    condition_code BIGINT NOT NULL,
    PRIMARY KEY (parent_id, child_id){index:job_edge_child:child_id}
) {narrow};

{only:sqlite} CREATE INDEX IF NOT EXISTS {p}job_edge_child ON {p}job_edge (child_id);

-- Runs that have ended and that others wait for: children, or the job whose callback it was. Written with the outcome,
-- deleted when the last of them was told.
CREATE TABLE IF NOT EXISTS {p}job_ended (
    job_id BIGINT NOT NULL,
    run BIGINT NOT NULL,
    ending BIGINT NOT NULL,
    callback_of BIGINT NOT NULL,            -- 0: nobody's
    callback_of_run BIGINT NOT NULL,
    PRIMARY KEY (job_id, run)
) {narrow};

-- What must still happen after a run's end before EXECUTED becomes COMPLETED.
CREATE TABLE IF NOT EXISTS {p}job_pending (
    job_id BIGINT NOT NULL,
    run BIGINT NOT NULL,
    kind BIGINT NOT NULL,                   -- 1: a callback, 2: a notification
    PRIMARY KEY (job_id, run, kind)
) {narrow};

-- Named locks. The row of one that nobody holds stays for a day, for its token.
CREATE TABLE IF NOT EXISTS {p}named_lock (
    name {key:128} NOT NULL PRIMARY KEY,
    secret {key:16} NOT NULL,               -- digest of the owner id; empty: nobody holds it
    owner {text} NOT NULL,
    token BIGINT NOT NULL,                  -- that of the present holder, or of the last one
    lease_time BIGINT NOT NULL,
    acquire_time BIGINT NOT NULL,
    expire_time BIGINT NOT NULL,            -- when it is free unless it is renewed, or since when it is
    server_id BIGINT NOT NULL               -- that the last renewal came through
) {narrow};

-- Recurring tasks. Every write changes the revision, and names the one that it has seen.
CREATE TABLE IF NOT EXISTS {p}recurring_task (
    task_id BIGINT NOT NULL PRIMARY KEY,
    name {key:1020} NOT NULL,
    revision BIGINT NOT NULL,
    next_time BIGINT NOT NULL,              -- the largest int64: it is not due
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    definition {text} NOT NULL,             -- model::Definition as JSON
    standing {text} NOT NULL,               -- model::Standing as JSON, but for the next time
    request_kind BIGINT NOT NULL,
    request_type {text},
    request {blob},
    UNIQUE (name){index:recurring_task_next:next_time}
) {wide};

{only:sqlite} CREATE INDEX IF NOT EXISTS {p}recurring_task_next ON {p}recurring_task (next_time);

-- What was decided about due times, once for each: its key is the guard. Skipped ones in a row share a row.
CREATE TABLE IF NOT EXISTS {p}recurring_tick (
    tick_time BIGINT NOT NULL,
    task_id BIGINT NOT NULL,
    until_time BIGINT NOT NULL,             -- the last due time of those skipped in a row
    skip_count BIGINT NOT NULL,             -- 0: it ran
    job_id BIGINT NOT NULL,                 -- 0: no job
    decide_time BIGINT NOT NULL,
    PRIMARY KEY (tick_time, task_id)
) {narrow};

-- Notifications of outcomes. Written with the outcome; the epoch guards every later write.
CREATE TABLE IF NOT EXISTS {p}delivery (
    delivery_id BIGINT NOT NULL PRIMARY KEY, -- grows with time
    job_id BIGINT NOT NULL,
    run BIGINT NOT NULL,
    state BIGINT NOT NULL,                  -- model::DeliveryState
    epoch BIGINT NOT NULL,
    attempt_count BIGINT NOT NULL,
    earlier_count BIGINT NOT NULL,          -- those before the last replay
    create_time BIGINT NOT NULL,
    next_time BIGINT NOT NULL,              -- the largest int64: never
    finish_time BIGINT NOT NULL,            -- 0: not yet
    address {text} NOT NULL{index:delivery_next:next_time}{index:delivery_state:state, delivery_id}{index:delivery_job:job_id, delivery_id}
) {narrow};

{only:sqlite} CREATE INDEX IF NOT EXISTS {p}delivery_next ON {p}delivery (next_time);

{only:sqlite} CREATE INDEX IF NOT EXISTS {p}delivery_state ON {p}delivery (state, delivery_id);

{only:sqlite} CREATE INDEX IF NOT EXISTS {p}delivery_job ON {p}delivery (job_id, delivery_id);

CREATE TABLE IF NOT EXISTS {p}delivery_try (
    delivery_id BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    start_time BIGINT NOT NULL,
    duration BIGINT NOT NULL,               -- microseconds
    http_status BIGINT NOT NULL,
    error {text},
    PRIMARY KEY (delivery_id, attempt)
) {narrow};

-- The rows that the verbs expect: 'job', 'route', 'task', 'reaper', and 'lock' for the largest token forgotten; names are
-- bytes, hence the digits.
{insert_new} INTO {p}id_block (name, next_id, month) VALUES (x'6a6f62', 1, 0);

{insert_new} INTO {p}id_block (name, next_id, month) VALUES (x'726f757465', 1, 0);

{insert_new} INTO {p}id_block (name, next_id, month) VALUES (x'7461736b', 1, 0);

{insert_new} INTO {p}upkeep (name, value, amnesty_from) VALUES (x'726561706572', 0, 0);

{insert_new} INTO {p}upkeep (name, value, amnesty_from) VALUES (x'6c6f636b', 0, 0);

-- What somebody set for a queue; a queue that nobody touched has no row.
CREATE TABLE IF NOT EXISTS {p}queue (
    name {key:128} NOT NULL PRIMARY KEY,
    pause_time BIGINT NOT NULL,             -- 0: it is not paused
    pause_reason {text} NOT NULL,
    concurrency BIGINT NOT NULL,            -- 0: no limit
    rate_count BIGINT NOT NULL,             -- 0: no limit
    rate_period BIGINT NOT NULL,            -- microseconds
    starts {text}                           -- model::StartLog as JSON
) {wide};

-- Lanes that transient runs hold: whose they are, so that they do not stay held when their server is gone.
CREATE TABLE IF NOT EXISTS {p}lane_lease (
    lane_id BIGINT NOT NULL PRIMARY KEY,
    job_id BIGINT NOT NULL,                 -- negative: that of a transient run, which is stored nowhere
    server_id BIGINT NOT NULL,
    lease_time BIGINT NOT NULL,             -- of the worker process that runs it
    take_time BIGINT NOT NULL
) {narrow};

-- What happened to the jobs of a route or a lane in an hour: for people. Counted in memory by each server and added every
-- other second.
CREATE TABLE IF NOT EXISTS {p}tally (
    slot_time BIGINT NOT NULL,              -- the start of the hour
    route_id BIGINT NOT NULL,
    enqueued BIGINT NOT NULL,
    completed BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    retried BIGINT NOT NULL,
    took BIGINT NOT NULL,                   -- microseconds of all completed runs
    last_time BIGINT NOT NULL,              -- when a run ended last that had started; 0: none
    last_job BIGINT NOT NULL,
    PRIMARY KEY (slot_time, route_id)
) {narrow};

-- How long jobs waited that started in five minutes, by model::Waits' steps.
CREATE TABLE IF NOT EXISTS {p}tally_wait (
    slot_time BIGINT NOT NULL,              -- the start of the five minutes
    step BIGINT NOT NULL,
    starts BIGINT NOT NULL,
    PRIMARY KEY (slot_time, step)
) {narrow};
