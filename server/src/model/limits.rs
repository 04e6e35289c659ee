//! Every limit and default of Haulier, in one place. The proto comments and the README name the same numbers.

use std::time::Duration;

/// Request or result of a job, bytes, unless the configuration says otherwise.
pub const PAYLOAD_BYTES_DEFAULT: usize = 1 << 20;
/// Most that the configuration may allow for a request or result, bytes.
pub const PAYLOAD_BYTES_MAX: usize = 3 << 20;
/// Largest gRPC message that the server reads, bytes.
pub const MESSAGE_IN_BYTES_MAX: usize = 4 << 20;
/// Largest gRPC message that the server reads in bulk calls and that SDKs read, bytes.
pub const MESSAGE_BULK_BYTES_MAX: usize = 16 << 20;
/// What one claim answer holds at most, bytes, unless it is one job alone.
pub const CLAIM_BYTES_MAX: i64 = 3 << 20;
/// Jobs in one claim answer.
pub const CLAIM_JOBS_MAX: i32 = 1_000;

/// Jobs stored together in one call, unless the configuration says otherwise.
pub const BATCH_JOBS_DEFAULT: usize = 1_000;
/// Most that the configuration may allow.
pub const BATCH_JOBS_MAX: usize = 10_000;
/// Jobs that come with an outcome.
pub const FOLLOW_JOBS_MAX: usize = 1_000;
/// Jobs that one job may depend on.
pub const PARENTS_MAX: usize = 100;
/// Jobs that may wait for one job.
pub const CHILDREN_MAX: i64 = 10_000;
/// A reply address, bytes.
pub const REPLY_TO_BYTES_MAX: usize = 2_048;

/// A machine's name: command, queue, named worker, target, lock.
pub const NAME_BYTES_MAX: usize = 128;
/// A person's text: ref id, tag, batch id, creator, user id.
pub const TEXT_CHARS_MAX: usize = 255;
/// Entries of `args` or `user_claims`.
pub const MAP_ENTRIES_MAX: usize = 64;
/// All keys and values of `args` or `user_claims` together, bytes.
pub const MAP_BYTES_MAX: usize = 16 << 10;

/// One log line, bytes.
pub const LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// Log lines kept of one run.
pub const LOG_LINES_PER_RUN_MAX: i64 = 50_000;
/// Log lines accepted in one report message.
pub const LOG_LINES_PER_REPORT_MAX: usize = 1_000;
/// Bytes of log lines and checkpoints that a worker process may have unacknowledged.
pub const LOG_CREDIT_BYTES: i64 = 1 << 20;
/// An error's message, bytes.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// An error's stack, bytes.
pub const ERROR_STACK_BYTES_MAX: usize = 32 << 10;
/// A status line of a running job, bytes.
pub const STATUS_BYTES_MAX: usize = 4 << 10;
/// Outcomes that one worker process may have unacknowledged.
pub const OUTCOMES_UNACKNOWLEDGED_MAX: usize = 1_000;
/// Least time between two stored progress writes of one job.
pub const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(500);

/// The priority of a job that sets none.
pub const PRIORITY_DEFAULT: i32 = 15;
/// Priorities run from 1 to this; higher first.
pub const PRIORITY_MAX: i32 = 30;

/// Per attempt, unless the job or the configuration says otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// Longest timeout of an attempt.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 86_400);
/// What a handler has after its timeout to end by itself, counted from the lease.
pub const TIMEOUT_GRACE: Duration = Duration::from_secs(10);
/// Retries after the first attempt.
pub const RETRY_LIMIT_DEFAULT: i32 = 2;
/// Most retries a job may ask for.
pub const RETRY_LIMIT_MAX: i32 = 1_000;
/// Crashes that a run survives; one more and it has failed as poison.
pub const CRASH_LIMIT_DEFAULT: i32 = 2;
/// Claims in a row whose answer never arrived that count as one crash.
pub const UNACKNOWLEDGED_PER_CRASH: i32 = 3;
/// First wait before a retry.
pub const RETRY_FIRST_DELAY_DEFAULT: Duration = Duration::from_secs(5);
/// Longest wait before a retry.
pub const RETRY_MAX_DELAY_DEFAULT: Duration = Duration::from_secs(300);
/// Longest wait between two attempts that a policy may ask for.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Largest growth of waits.
pub const RETRY_FACTOR_MAX: f64 = 100.0;
/// Longest time after which a failing job is given up.
pub const GIVE_UP_MAX: Duration = Duration::from_secs(365 * 86_400);
/// Retry profiles that the configuration may describe.
pub const RETRY_PROFILES_MAX: usize = 100;
/// `run_after`, `delay`, `expire_time`: at most this far ahead (5 years).
pub const FUTURE_MAX: Duration = Duration::from_secs(5 * 366 * 86_400);

/// Lease time of a session that wishes for none.
pub const LEASE_TIME_DEFAULT: Duration = Duration::from_secs(30);
/// Shortest lease time.
pub const LEASE_TIME_MIN: Duration = Duration::from_secs(5);
/// Longest lease time.
pub const LEASE_TIME_MAX: Duration = Duration::from_secs(600);
/// Heartbeats in one lease time.
pub const BEATS_PER_LEASE: u32 = 3;
/// Longest wait of a claim before an empty answer.
pub const CLAIM_WAIT_MAX: Duration = Duration::from_secs(30);
/// Time between two ticks of the reaper.
pub const TICK: Duration = Duration::from_secs(2);
/// A reaper that has not ticked for longer takes nothing by time for one lease, and a server that has not is silent. One
/// and a half ticks: with the pause between two heartbeats of the shortest lease it stays below that lease.
pub const AMNESTY_AFTER: Duration = Duration::from_secs(3);
/// How often a server that is asked for jobs looks at the ready table for what other replicas enqueued; less often where a
/// look is slow, so that looks take a twentieth of the time at most.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How often every server reads the cancel requests of running jobs.
pub const CANCEL_POLL: Duration = Duration::from_millis(500);
/// How often every server reads which queues are paused.
pub const QUEUE_POLL: Duration = Duration::from_millis(500);
/// A server that has not been heard of for this long is shown as silent.
pub const SERVER_SILENT_AFTER: Duration = Duration::from_secs(30);
/// Most jobs of a queue that its limits may name.
pub const QUEUE_LIMIT_MAX: i64 = 1_000_000;
/// The stretch of a rate limit that names none, and the shortest.
pub const RATE_PERIOD_MIN: Duration = Duration::from_secs(1);
/// Longest stretch of a rate limit.
pub const RATE_PERIOD_MAX: Duration = Duration::from_secs(86_400);
/// What happened is counted by the hour,
pub const TALLY_SLOT: Duration = Duration::from_secs(3_600);
/// and how long jobs waited by five minutes.
pub const TALLY_WAIT_SLOT: Duration = Duration::from_secs(300);
/// How often a server adds what it counted to the tables.
pub const TALLY_INTERVAL: Duration = Duration::from_secs(2);
/// Hours that figures reach back when nothing is said.
pub const OVERVIEW_HOURS_DEFAULT: i32 = 24;
/// Hours that figures reach back at most; older tallies are forgotten.
pub const OVERVIEW_HOURS_MAX: i32 = 168;
/// Commands, named workers and worker processes that an overview shows of each.
pub const OVERVIEW_ROWS_MAX: usize = 100;
/// What a cancelled handler has to end by itself.
pub const CANCEL_GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// Longest grace that a cancel may ask for.
pub const CANCEL_GRACE_MAX: Duration = Duration::from_secs(30 * 86_400);
/// What a draining worker process has by default to finish its jobs.
pub const WORKER_DRAIN: Duration = Duration::from_secs(30);
/// What a draining server has to finish its calls.
pub const SERVER_DRAIN: Duration = Duration::from_secs(15);
/// Request ids are remembered for this long.
pub const REQUEST_ID_LIFE: Duration = Duration::from_secs(86_400);
/// An id block is given out for this long; then it must be found to be the newest still.
pub const ID_BLOCK_LIFE: Duration = Duration::from_secs(2);
/// Leases that one sweep of the reaper takes in one transaction.
pub const SWEEP_ROWS_MAX: i64 = 500;

/// Secret of a lock's owner, characters.
pub const LOCK_OWNER_ID_CHARS_MAX: usize = 128;
/// How long a lock is held unless it is renewed, when nothing is said.
pub const LOCK_LEASE_TIME_DEFAULT: Duration = Duration::from_secs(30);
/// Shortest lease time of a lock.
pub const LOCK_LEASE_TIME_MIN: Duration = Duration::from_secs(5);
/// Longest lease time of a lock.
pub const LOCK_LEASE_TIME_MAX: Duration = Duration::from_secs(600);
/// Longest wait for a lock in one call.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);
/// How often a server with callers that wait for locks looks whether these are free: released through another server, or
/// over.
pub const LOCK_LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Callers that wait for locks on one server; beyond it the answer is RESOURCE_EXHAUSTED.
pub const LOCK_WAITERS_MAX: usize = 10_000;
/// How long the row of a lock that nobody holds is kept.
pub const LOCK_LIFE: Duration = Duration::from_secs(86_400);

/// Transient runs that have not ended, on one server.
pub const TRANSIENT_RUNS_MAX: usize = 10_000;
/// Requests, results, checkpoints and log lines of all transient runs of one server, bytes.
pub const TRANSIENT_BYTES_MAX: usize = 64 << 20;
/// Log lines kept of one transient run, bytes.
pub const TRANSIENT_LOG_BYTES_MAX: usize = 256 << 10;
/// A transient run is known for this long after its end, unless memory is short.
pub const TRANSIENT_LIFE: Duration = Duration::from_secs(60);
/// How often transient runs are looked after.
pub const TRANSIENT_TICK: Duration = Duration::from_millis(250);
/// How long RunCommand waits for a worker process that serves the command, unless the configuration says otherwise.
pub const RUN_WAIT_DEFAULT: Duration = Duration::from_secs(2);
/// The longest that the configuration may let it wait.
pub const RUN_WAIT_MAX: Duration = Duration::from_secs(60);

/// Members of one shared transaction.
pub const GROUP_ROWS_MAX: usize = 1_000;
/// Bytes of one shared transaction.
pub const GROUP_BYTES_MAX: usize = 8 << 20;
/// Callers waiting for one class of commits; beyond it the answer is RESOURCE_EXHAUSTED.
pub const GROUP_WAITING_MAX: usize = 50_000;
/// Bytes of requests waiting for one class of commits; beyond it the answer is RESOURCE_EXHAUSTED.
pub const GROUP_WAITING_BYTES_MAX: usize = 64 << 20;
/// Tries of a whole transaction after a deadlock, a snapshot conflict or a busy database.
pub const TRANSACTION_TRIES_MAX: u32 = 5;

/// Items of a page that asks for no size.
pub const PAGE_SIZE_DEFAULT: i32 = 50;
/// Items of a page at most.
pub const PAGE_SIZE_MAX: i32 = 500;
/// Bytes of a page; one item is always given.
pub const PAGE_BYTES_MAX: usize = 3_500_000;
/// Rows that one page of a filtered list walks at most; a short page with a token goes on from there.
pub const WALK_ROWS_MAX: i64 = 10_000;
/// Log lines of a page.
pub const LOG_PAGE_SIZE_MAX: i32 = 1_000;

/// Commands that one session may serve.
pub const SERVED_COMMANDS_MAX: usize = 1_000;
/// Queues that one session may serve.
pub const SERVED_QUEUES_MAX: usize = 100;
/// Slots of one session.
pub const SLOTS_MAX: i32 = 10_000;
/// Claim loops of one session.
pub const LOOPS_MAX: i32 = 256;
/// The queue of a job that names none.
pub const QUEUE_DEFAULT: &str = "default";
/// Leases in one heartbeat.
pub const LEASES_PER_BEAT_MAX: usize = 10_000;
/// A reason in words, bytes.
pub const REASON_BYTES_MAX: usize = 4 << 10;
/// A request id, characters.
pub const REQUEST_ID_CHARS_MAX: usize = 128;
/// A log line's structured fields.
pub const LOG_FIELDS_MAX: usize = 64;
/// Jobs in the initial set of a watch over many.
pub const WATCH_INITIAL_MAX: usize = 10_000;
/// Arguments in a filter.
pub const FILTER_ARGS_MAX: usize = 8;

/// Shortest interval of a recurring task.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// A cron expression, a seed or the name of a task, characters.
pub const SCHEDULE_CHARS_MAX: usize = 255;
/// A recurring task's description, characters.
pub const DESCRIPTION_CHARS_MAX: usize = 1_024;
/// How far back missed due times are made up for unless the task says otherwise.
pub const CATCH_UP_WINDOW_DEFAULT: Duration = Duration::from_secs(3_600);
/// How far back missed due times may be made up for.
pub const CATCH_UP_WINDOW_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Missed due times that are made up for at most.
pub const CATCH_UP_RUNS_MAX: usize = 100;
/// Runs of a task that are looked at for whether they have ended.
pub const OPEN_RUNS_MAX: usize = 32;
/// Decisions about due times are remembered for this long; so far a clock may step back without a due time running twice.
pub const TICK_LIFE: Duration = Duration::from_secs(7 * 86_400);
/// How often it is looked for tasks that other servers changed.
pub const TASK_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Tasks that one look takes up.
pub const DUE_TASKS_MAX: i64 = 100;
/// Times that a preview gives when it is asked for no number.
pub const PREVIEW_DEFAULT: i32 = 5;
/// Times that a preview gives at most.
pub const PREVIEW_MAX: i32 = 500;
/// Due times to come that are shown with a task.
pub const UPCOMING_SHOWN: usize = 5;
