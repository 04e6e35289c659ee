/** Every limit and default of the SDK, in one place. The README names the same numbers. */

/** Address used when neither argument nor `HAULIER_ADDRESS` names one. */
export const ADDRESS_DEFAULT = "127.0.0.1:4285";
/** Largest message that is read: a claim answer may bring 3 MiB or one job alone. */
export const MESSAGE_READ_BYTES_MAX = 16 * 1024 * 1024;
/** Largest message that is written by a client call. */
export const MESSAGE_WRITE_BYTES_MAX = 16 * 1024 * 1024;
/** A connection that is used is asked for a sign of life this often, and is given up when none comes in time. */
export const PING_INTERVAL_MS = 10_000;
/** How long that sign may take. */
export const PING_TIMEOUT_MS = 5_000;
/** How long a connection may take to come about, over `@grpc/grpc-js`; over Connect's own transport the ping finds out. */
export const CONNECT_TIME_MAX_MS = 10_000;
/** Longest time of one call, unless the call says otherwise. */
export const CALL_TIMEOUT_MS = 30_000;
/** How long a call is retried in all, unless the client says otherwise. */
export const RETRY_TIME_MS = 30_000;
/** First and longest wait between two tries of a call. */
export const RETRY_DELAY_MS = { first: 100, max: 5_000 } as const;
/** First and longest wait before a worker tries again to register, claim, or open its stream. */
export const RECONNECT_DELAY_MS = { first: 50, max: 1_500 } as const;
/** First and longest wait before a background loop that threw is started again. */
export const RESTART_DELAY_MS = { first: 1_000, max: 60_000 } as const;
/** Lease time of a lock, unless the call says otherwise. */
export const LOCK_LEASE_MS = 30_000;
/** One call waits at most this long for a lock; a longer wait is asked for again. */
export const LOCK_WAIT_MS = 20_000;
/** Pauses before each try to give back a lock that a call without an answer may have acquired: the server may be at it still. */
export const GIVE_BACK_PAUSES_MS = [0, 100, 500];
/** Calls that set no page size ask for so many. */
export const PAGE_SIZE = 200;

/** What a handler has after its timeout to end by itself. */
export const TIMEOUT_GRACE_MS = 10_000;
/** What a draining worker process has to finish its jobs, unless told otherwise. */
export const DRAIN_TIME_MS = 30_000;
/** What handlers have after that, once they are told to stop; no longer than the time before. */
export const DRAIN_STOP_MS = 5_000;
/** How long outcomes may take to be acknowledged when a worker process ends. */
export const FLUSH_TIME_MS = 5_000;
/** Strict jobs stop themselves when this share of the lease passed without an acknowledged heartbeat. */
export const FENCE_SHARE = 0.8;
/** How long a handler that lost its lease keeps its slot when it does not end. */
export const ABANDON_GRACE_MS = 10_000;
/** A worker waits for jobs at most this long in one call. */
export const CLAIM_WAIT_MS = 30_000;
/** Added to the wait of a claim before the call counts as lost. */
export const CLAIM_MARGIN_MS = 5_000;
/** Most jobs of one claim. */
export const CLAIM_JOBS_MAX = 1_000;

/** Parts of one kind in one report message. */
export const REPORT_PARTS_MAX = 1_000;
/** Bytes of one report message that are aimed at, below the 4 MiB that the server reads. */
export const REPORT_BYTES_MAX = 3 * 1024 * 1024;
/** Bytes of log lines of one job in one report message, below the 1 MiB that the server reads. */
export const LOG_REPORT_BYTES_MAX = 512 * 1024;
/** Unacknowledged outcomes of one worker process. */
export const OUTCOMES_UNACKNOWLEDGED_MAX = 1_000;
/** A log line with its fields. */
export const LOG_LINE_BYTES_MAX = 16 * 1024;
/** Fields of a log line. */
export const LOG_FIELDS_MAX = 64;
/** Log lines of one job that wait to be sent or acknowledged; more are dropped, and a line says how many. */
export const LOG_BUFFER_LINES_MAX = 10_000;
/** Bytes of these log lines. */
export const LOG_BUFFER_BYTES_MAX = 8 * 1024 * 1024;
/** Text of an error. */
export const ERROR_MESSAGE_BYTES_MAX = 4 * 1024;
/** Stack of an error. */
export const ERROR_STACK_BYTES_MAX = 32 * 1024;
/** Code of an error, in characters. */
export const ERROR_CODE_CHARS_MAX = 255;
/** Reason of a release or a cancel. */
export const REASON_BYTES_MAX = 4 * 1024;
/** Status line of a job. */
export const STATUS_BYTES_MAX = 4 * 1024;
/** Jobs stored together with an outcome. */
export const ENQUEUE_WITH_OUTCOME_MAX = 1_000;
