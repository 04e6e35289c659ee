import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { msOfDuration } from "./duration.js";
import type { JobAttempt as AttemptMessage } from "./gen/haulier/v1/attempt_pb.js";
import type { Batch as BatchMessage } from "./gen/haulier/v1/batch_pb.js";
import type { Delivery as DeliveryMessage } from "./gen/haulier/v1/delivery_pb.js";
import type {
  JobCounts as CountsMessage,
  JobError as ErrorMessage,
  ParentResult as ParentMessage,
  JobResult as ResultMessage,
  JobSummary as SummaryMessage,
} from "./gen/haulier/v1/job_pb.js";
import type { LogLine as LogLineMessage } from "./gen/haulier/v1/log_pb.js";
import { type ApiCall, apiCallOf, dateOf, enumName, idText, type JobOptions, optionsOf } from "./options.js";
import { type Payload, payloadOf } from "./payload.js";

/** State of a job, set by the server only. `unknown`: one of a newer server. */
export type JobState =
  | "scheduled"
  | "blocked"
  | "queued"
  | "running"
  | "executed"
  | "completed"
  | "failed"
  | "cancelled"
  | "unknown";

/** Which rule made an attempt or a job fail. */
export type FailureReason = Exclude<(typeof FAILURE_REASONS)[number], "">;
/** Why a job was cancelled. */
export type CancelReason = Exclude<(typeof CANCEL_REASONS)[number], "">;
/** How an attempt ended. */
export type AttemptOutcome = Exclude<(typeof ATTEMPT_OUTCOMES)[number], "">;
/** How far a delivery is. */
export type DeliveryState = Exclude<(typeof DELIVERY_STATES)[number], "">;
/** Level of a log line, ordered. */
export type LogLevel = Exclude<(typeof LOG_LEVELS)[number], "">;

export const JOB_STATES = [
  "",
  "scheduled",
  "blocked",
  "queued",
  "running",
  "executed",
  "completed",
  "failed",
  "cancelled",
] as const;
export const FAILURE_REASONS = [
  "",
  "handler",
  "non_retryable",
  "timeout",
  "poison",
  "abandoned",
  "unreadable_request",
  "api",
  "worker_lost",
  "unstorable_result",
] as const;
const CANCEL_REASONS = ["", "client", "expired", "parent", "forced", "handler", "superseded"] as const;
const ATTEMPT_OUTCOMES = [
  "",
  "running",
  "completed",
  "failed",
  "timed_out",
  "crashed",
  "released",
  "cancelled",
  "not_received",
] as const;
export const DELIVERY_STATES = ["", "pending", "sending", "delivered", "given_up"] as const;
export const LOG_LEVELS = ["", "trace", "debug", "info", "warn", "error"] as const;

/** Why an attempt or a job did not complete. */
export interface JobError {
  /** The handler's own code, the type of its error, or the status of a called API. */
  readonly code: string;
  readonly message: string;
  /** Stack trace of the handler. */
  readonly stack: string | undefined;
  /** Which rule made it fail. */
  readonly reason: FailureReason | undefined;
}

/** What lists and streams show of a job: everything but its payloads and options. */
export interface JobSummary {
  /** Id; "0" for a transient run, which is known by its ref id. */
  readonly id: string;
  readonly refId: string;
  /** Run, from 1. A requeue starts a new one. */
  readonly run: number;
  readonly state: JobState;
  /** Command it runs; undefined for an API job. */
  readonly command: string | undefined;
  /** API it calls; undefined for a command. */
  readonly api: ApiCall | undefined;
  readonly queue: string;
  /** Named worker. */
  readonly worker: string | undefined;
  readonly priority: number;
  readonly tag: string | undefined;
  readonly batchId: string | undefined;
  /** Job that this one descends from. */
  readonly parentId: string | undefined;
  /** The caller's text for who made it. */
  readonly createdBy: string | undefined;
  /** Identity that enqueued it, as authenticated by the server. */
  readonly enqueuedBy: string | undefined;
  readonly userId: string | undefined;
  /** Recurring task that made it. */
  readonly recurringTask: string | undefined;
  /** Current or last attempt, from 1; 0 before the first. */
  readonly attempt: number;
  /** How often in this run its worker process went away. */
  readonly crashes: number;
  /** Fencing token of the current or last attempt. */
  readonly epoch: number;
  /** How much is done, 0 to 1; undefined: not known. */
  readonly progress: number | undefined;
  /** Whether `progress` is estimated from earlier runs. */
  readonly progressEstimated: boolean;
  /** Status line. */
  readonly status: string | undefined;
  readonly createTime: Date | undefined;
  /** From when it may start, or could. */
  readonly readyTime: Date | undefined;
  /** When the current or last attempt was leased. */
  readonly startTime: Date | undefined;
  readonly finishTime: Date | undefined;
  /** When callback and notification had ended. */
  readonly notifyTime: Date | undefined;
  /** Error of the outcome, or of the last attempt while it is retried. */
  readonly error: JobError | undefined;
  /** Whether a running job has been asked to stop. */
  readonly cancelRequested: boolean;
  readonly cancelReason: CancelReason | undefined;
  /** Why it was cancelled, in words. */
  readonly cancelMessage: string | undefined;
  /** Worker process that runs it, or ran it last. */
  readonly workerProcess: string | undefined;
  /** Whether it is a transient run, never stored. */
  readonly transient: boolean;
  readonly callbackJobId: string | undefined;
  readonly callbackError: string | undefined;
  readonly notifyError: string | undefined;
}

/** A job wherever it now lives: its summary and its full record. */
export interface JobResult<Request = unknown, Result = unknown> {
  readonly summary: JobSummary;
  /** Which record it is: `queued` until the outcome, then `completed` or `failed` (cancelled ones too). */
  readonly record: "queued" | "completed" | "failed" | undefined;
  /** Request as given. */
  readonly request: Request;
  /** Result of the handler or the API's answer; null unless it completed with one. */
  readonly result: Result;
  /** Why it failed. */
  readonly error: JobError | undefined;
  /** Options with their defaults filled in. */
  readonly options: JobOptions;
  /** Checkpoint last stored; null for none. */
  readonly checkpoint: unknown;
  /** Request, result and checkpoint as they are stored, with their content types. */
  readonly payloads: { readonly request: Payload; readonly result: Payload; readonly checkpoint: Payload };
  /** Parents that it still waits for. */
  readonly waitingFor: readonly string[];
  /** When a requested stop will be forced. */
  readonly cancelDeadlineTime: Date | undefined;
  /** The job named by `summary.parentId`, when it was asked for. */
  readonly parent: ParentResult | undefined;
  /** Whether payloads were left out, since the caller may not read them. */
  readonly payloadsHidden: boolean;
}

/** What a child gets of a job that it depends on or descends from. */
export interface ParentResult {
  readonly id: string;
  readonly refId: string;
  readonly state: JobState;
  /** Command of the parent; undefined for an API job. */
  readonly command: string | undefined;
  /** Request; null when `byReference`. */
  readonly request: unknown;
  /** Result; null when `byReference` or when there is none. */
  readonly result: unknown;
  readonly error: JobError | undefined;
  /** Whether request and result were too large to be sent along: read them by `client.get`. */
  readonly byReference: boolean;
}

/** One attempt to run a job. */
export interface JobAttempt {
  readonly run: number;
  readonly attempt: number;
  /** Fencing token. */
  readonly epoch: number;
  readonly workerProcess: string;
  /** First 8 characters of the session. */
  readonly sessionId: string;
  readonly startTime: Date | undefined;
  readonly finishTime: Date | undefined;
  readonly outcome: AttemptOutcome | undefined;
  readonly error: JobError | undefined;
  /** When the next attempt may start. */
  readonly retryTime: Date | undefined;
}

/** A stored log line. */
export interface LogLine {
  /** Number within its attempt, from 1 without gaps. */
  readonly sequence: number;
  readonly run: number;
  readonly epoch: number;
  readonly time: Date | undefined;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** How many jobs are in each state. */
export type JobCounts = Readonly<Record<Exclude<JobState, "unknown"> | "total", number>>;

/** The jobs that share a batch id. */
export interface Batch {
  readonly batchId: string;
  readonly counts: JobCounts;
  readonly createTime: Date | undefined;
  /** When the last of them had its outcome; undefined while any has none. */
  readonly finishTime: Date | undefined;
}

/** A notification of a job's outcome to its `replyTo`. */
export interface Delivery {
  readonly id: string;
  readonly jobId: string;
  readonly run: number;
  readonly method: string;
  /** Without credentials. */
  readonly url: string;
  readonly state: DeliveryState | undefined;
  readonly attempts: readonly DeliveryAttempt[];
  readonly attemptCount: number;
  readonly createTime: Date | undefined;
  readonly nextTime: Date | undefined;
  readonly finishTime: Date | undefined;
}

/** One try to deliver a notification. */
export interface DeliveryAttempt {
  readonly startTime: Date | undefined;
  readonly durationMs: number | undefined;
  /** HTTP status of the answer; undefined when none came. */
  readonly httpStatus: number | undefined;
  readonly error: string | undefined;
}

/** Whether the outcome of a job in this state is settled. */
export function isSettled(state: JobState): boolean {
  return state === "executed" || state === "completed" || state === "failed" || state === "cancelled";
}

export function stateOf(state: number): JobState {
  return enumName(JOB_STATES, state) ?? "unknown";
}

export function summaryOf(job: SummaryMessage): JobSummary {
  return {
    id: job.id.toString(),
    refId: job.refId,
    run: job.run,
    state: stateOf(job.state),
    command: job.work.case === "command" ? job.work.value : undefined,
    api: job.work.case === "api" ? apiCallOf(job.work.value) : undefined,
    queue: job.queue,
    worker: job.worker || undefined,
    priority: job.priority,
    tag: job.tag || undefined,
    batchId: job.batchId || undefined,
    parentId: idText(job.parentId),
    createdBy: job.createdBy || undefined,
    enqueuedBy: job.enqueuedBy || undefined,
    userId: job.userId || undefined,
    recurringTask: job.recurringTask || undefined,
    attempt: job.attempt,
    crashes: job.crashes,
    epoch: Number(job.epoch),
    progress: job.progress,
    progressEstimated: job.progressEstimated,
    status: job.status || undefined,
    createTime: dateOf(job.createTime),
    readyTime: dateOf(job.readyTime),
    startTime: dateOf(job.startTime),
    finishTime: dateOf(job.finishTime),
    notifyTime: dateOf(job.notifyTime),
    error: errorOf(job.error),
    cancelRequested: job.cancelRequested,
    cancelReason: enumName(CANCEL_REASONS, job.cancelReason),
    cancelMessage: job.cancelMessage || undefined,
    workerProcess: job.workerProcess || undefined,
    transient: job.transient,
    callbackJobId: idText(job.callbackJobId),
    callbackError: job.callbackError || undefined,
    notifyError: job.notifyError || undefined,
  };
}

export function resultOf(job: ResultMessage): JobResult {
  const { record } = job;
  const request = payloadOf(record.value?.request);
  const checkpoint = payloadOf(record.value?.checkpoint);
  const result = payloadOf(record.case === "completed" ? record.value.result : undefined);
  const queued = record.case === "queued" ? record.value : undefined;
  const failed = record.case === "failed" ? record.value : undefined;
  if (job.summary === undefined) throw new TypeError("the server answered a job without its summary");
  return {
    summary: summaryOf(job.summary),
    record: record.case,
    request: request.value(),
    result: result.value(),
    error: errorOf(failed?.error),
    options: optionsOf(record.value?.options),
    checkpoint: checkpoint.value(),
    payloads: { request, result, checkpoint },
    waitingFor: queued?.waitingFor.map(String) ?? [],
    cancelDeadlineTime: dateOf(queued?.cancelDeadlineTime),
    parent: job.parent && parentOf(job.parent),
    payloadsHidden: job.payloadsHidden,
  };
}

export function parentOf(parent: ParentMessage): ParentResult {
  return {
    id: parent.jobId.toString(),
    refId: parent.refId,
    state: stateOf(parent.state),
    command: parent.command || undefined,
    request: payloadOf(parent.request).value(),
    result: payloadOf(parent.result).value(),
    error: errorOf(parent.error),
    byReference: parent.byReference,
  };
}

export function errorOf(error: ErrorMessage | undefined): JobError | undefined {
  if (error === undefined) return undefined;
  const reason = enumName(FAILURE_REASONS, error.reason);
  return { code: error.code, message: error.message, stack: error.stack || undefined, reason };
}

export function attemptOf(attempt: AttemptMessage): JobAttempt {
  return {
    run: attempt.run,
    attempt: attempt.attempt,
    epoch: Number(attempt.epoch),
    workerProcess: attempt.workerProcess,
    sessionId: attempt.sessionId,
    startTime: dateOf(attempt.startTime),
    finishTime: dateOf(attempt.finishTime),
    outcome: enumName(ATTEMPT_OUTCOMES, attempt.outcome),
    error: errorOf(attempt.error),
    retryTime: dateOf(attempt.retryTime),
  };
}

export function logLineOf(line: LogLineMessage): LogLine {
  return {
    sequence: Number(line.sequence),
    run: line.run,
    epoch: Number(line.epoch),
    time: dateOf(line.time),
    level: enumName(LOG_LEVELS, line.level) ?? "info",
    message: line.message,
    fields: line.fields,
  };
}

export function countsOf(counts: CountsMessage | undefined): JobCounts {
  return {
    scheduled: Number(counts?.scheduled ?? 0n),
    blocked: Number(counts?.blocked ?? 0n),
    queued: Number(counts?.queued ?? 0n),
    running: Number(counts?.running ?? 0n),
    executed: Number(counts?.executed ?? 0n),
    completed: Number(counts?.completed ?? 0n),
    failed: Number(counts?.failed ?? 0n),
    cancelled: Number(counts?.cancelled ?? 0n),
    total: Number(counts?.total ?? 0n),
  };
}

export function batchOf(batch: BatchMessage): Batch {
  return {
    batchId: batch.batchId,
    counts: countsOf(batch.counts),
    createTime: dateOf(batch.createTime),
    finishTime: dateOf(batch.finishTime),
  };
}

export function deliveryOf(delivery: DeliveryMessage): Delivery {
  return {
    id: delivery.id.toString(),
    jobId: delivery.jobId.toString(),
    run: delivery.run,
    method: delivery.method,
    url: delivery.url,
    state: enumName(DELIVERY_STATES, delivery.state),
    attempts: delivery.attempts.map((attempt) => ({
      startTime: dateOf(attempt.startTime),
      durationMs: attempt.duration && msOfDuration(attempt.duration),
      httpStatus: attempt.httpStatus || undefined,
      error: attempt.error || undefined,
    })),
    attemptCount: delivery.attemptCount,
    createTime: dateOf(delivery.createTime),
    nextTime: dateOf(delivery.nextTime),
    finishTime: dateOf(delivery.finishTime),
  };
}

/** Times in a row, those that are there. */
export function datesOf(times: readonly Timestamp[]): Date[] {
  return times.flatMap((time) => dateOf(time) ?? []);
}
