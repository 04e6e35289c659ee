import { Code, ConnectError } from "@connectrpc/connect";
import type { Duration } from "./duration.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/**
 * Why a call failed: the reasons of the contract (`haulier.v1.ErrorReason`) and, below, those that arise in the SDK itself.
 */
export type ErrorReason =
  | "INVALID_FIELD"
  | "PARENT_NOT_FOUND"
  | "BAD_TOKEN"
  | "JOB_NOT_FOUND"
  | "RESOURCE_NOT_FOUND"
  | "REF_ID_TAKEN"
  | "REQUEST_ID_REUSED"
  | "WRONG_STATE"
  | "MONTH_IN_USE"
  | "LOCK_HELD"
  | "LEASE_LOST"
  | "SESSION_LOST"
  | "STALE_SEQUENCE"
  | "LOCK_LOST"
  | "OVERLOADED"
  | "DISK_FULL"
  | "LIMIT_REACHED"
  | "STORE_UNAVAILABLE"
  | "SHUTTING_DOWN"
  | "UNAUTHENTICATED"
  | "SCOPE_MISSING"
  | "MAY_NOT_ACT_FOR_OTHERS"
  | "DEADLINE_EXCEEDED"
  | "CALL_CANCELLED"
  | "NOT_SUPPORTED"
  | "INTERNAL"
  | "NO_WORKER_HERE"
  /** The server could not be reached, or the connection broke. */
  | "SERVER_UNREACHABLE"
  /** A request, result, checkpoint or argument is not JSON. */
  | "UNSERIALIZABLE"
  /** The job has a result that the caller's key may not read. */
  | "PAYLOADS_HIDDEN"
  /** A stored payload is not what its reader expects. */
  | "UNREADABLE_PAYLOAD"
  /** A message was larger than the limit. */
  | "MESSAGE_TOO_LARGE"
  /** The job failed, or was cancelled, and the caller waited for its result. */
  | "JOB_FAILED"
  | "JOB_CANCELLED"
  /** The server answered something that the contract does not allow, or is no Haulier server. */
  | "UNEXPECTED_ANSWER"
  | (string & {});

/** gRPC code of an error, by its name. */
export type ErrorCode =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "DATA_LOSS"
  | "UNAUTHENTICATED";

/** A field of a request that breaks a rule or a limit. */
export interface FieldViolation {
  /** Path of the field, as in `options.priority`. */
  readonly field: string;
  /** What is wrong with it. */
  readonly description: string;
}

interface ErrorData {
  readonly code: ErrorCode;
  readonly reason: ErrorReason;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fields?: readonly FieldViolation[];
  readonly retryDelayMs?: number | undefined;
  readonly cause?: unknown;
}

/**
 * Base of all errors of the SDK. Look at `reason` to tell them apart; the classes below exist for `instanceof`.
 */
export class HaulierError extends Error {
  /** gRPC code. */
  readonly code: ErrorCode;
  /** Why, as a constant. */
  readonly reason: ErrorReason;
  /** Facts about it, such as `job_id` of `REF_ID_TAKEN`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Fields that are wrong, of `INVALID_ARGUMENT`. */
  readonly fields: readonly FieldViolation[];
  /** How long the server asks to wait before a repeat. */
  readonly retryDelayMs: number | undefined;

  constructor(message: string, data: ErrorData) {
    super(message, data.cause === undefined ? undefined : { cause: data.cause });
    this.name = new.target.name;
    this.code = data.code;
    this.reason = data.reason;
    this.metadata = data.metadata ?? {};
    this.fields = data.fields ?? [];
    this.retryDelayMs = data.retryDelayMs;
  }
}

/** INVALID_ARGUMENT: see `fields`. */
export class InvalidArgumentError extends HaulierError {
  override readonly name = "InvalidArgumentError";
}
/** NOT_FOUND: no such job, task, queue, lock. */
export class NotFoundError extends HaulierError {
  override readonly name = "NotFoundError";
}
/** ALREADY_EXISTS: the ref id is taken, or the request id was used with other content. */
export class AlreadyExistsError extends HaulierError {
  override readonly name = "AlreadyExistsError";
  /** Id of the job that has the ref id. */
  get jobId(): string | undefined {
    return this.metadata.job_id;
  }
}
/** FAILED_PRECONDITION: the state of the thing does not allow it. */
export class FailedPreconditionError extends HaulierError {
  override readonly name = "FailedPreconditionError";
}
/** ABORTED: a lease, session or lock is no longer held. Never retried. */
export class AbortedError extends HaulierError {
  override readonly name = "AbortedError";
}
/** RESOURCE_EXHAUSTED: the server has as much in hand as it may. Retried by the client before it is thrown. */
export class ResourceExhaustedError extends HaulierError {
  override readonly name = "ResourceExhaustedError";
}
/** UNAVAILABLE: the server or its database cannot be reached. Retried by the client before it is thrown. */
export class UnavailableError extends HaulierError {
  override readonly name = "UnavailableError";
}
/** UNAUTHENTICATED: no valid key. */
export class UnauthenticatedError extends HaulierError {
  override readonly name = "UnauthenticatedError";
}
/** PERMISSION_DENIED: the key lacks a scope. */
export class PermissionDeniedError extends HaulierError {
  override readonly name = "PermissionDeniedError";
}
/** DEADLINE_EXCEEDED: whether it was done is not known; repeat it with the same request id. */
export class DeadlineExceededError extends HaulierError {
  override readonly name = "DeadlineExceededError";
}
/** UNIMPLEMENTED: this server does not have it, or has it switched off. */
export class UnimplementedError extends HaulierError {
  override readonly name = "UnimplementedError";
}
/** INTERNAL, UNKNOWN, DATA_LOSS: a fault of the server. */
export class InternalError extends HaulierError {
  override readonly name = "InternalError";
}

/** A job whose result was waited for failed for good. */
export class JobFailedError extends HaulierError {
  override readonly name: string = "JobFailedError";
  /** Id of the job; "0" for a transient run. */
  readonly jobId: string;
  readonly refId: string;
  /** The handler's own code, or the type of its error. */
  readonly jobCode: string;
  /** Stack trace of the handler, if it gave one. */
  readonly jobStack: string | undefined;
  /** Which rule made it fail, such as `handler`, `timeout`, `poison`. */
  readonly failureReason: string | undefined;
  /** How many attempts its last run had. */
  readonly attempts: number;

  constructor(message: string, job: JobErrorData, reason: ErrorReason = "JOB_FAILED") {
    super(message, { code: "ABORTED", reason });
    this.jobId = job.jobId;
    this.refId = job.refId;
    this.jobCode = job.jobCode;
    this.jobStack = job.jobStack;
    this.failureReason = job.failureReason;
    this.attempts = job.attempts;
  }
}

/** What {@link JobFailedError} is made of. */
export interface JobErrorData {
  readonly jobId: string;
  readonly refId: string;
  readonly jobCode: string;
  readonly jobStack?: string | undefined;
  readonly failureReason?: string | undefined;
  readonly attempts: number;
}

/** A job whose result was waited for was cancelled, expired, or lost a parent. */
export class JobCancelledError extends JobFailedError {
  override readonly name = "JobCancelledError";
  /** Why, such as `client`, `expired`, `parent`, `forced`. */
  readonly cancelReason: string | undefined;

  constructor(message: string, job: JobErrorData, cancelReason: string | undefined) {
    super(message, job, "JOB_CANCELLED");
    this.cancelReason = cancelReason;
  }
}

/** Thrown by a handler: this failure must not be retried. */
export class NonRetryable extends Error {
  override readonly name = "NonRetryable";
  /** The handler's own code, shown on the job. */
  readonly code: string | undefined;

  constructor(message: string, options: { readonly code?: string; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
  }
}

/** Thrown by a handler: try again after so long, in place of the policy's wait. The number of retries is still the policy's. */
export class RetryAfter extends Error {
  override readonly name = "RetryAfter";
  /** The handler's own code, shown on the job. */
  readonly code: string | undefined;

  constructor(
    readonly delay: Duration,
    message = "try again later",
    options: { readonly code?: string; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
  }
}

/**
 * Who wants a handler to stop.
 *
 * - `cancel`: a client cancelled the job. Obeying ends it as cancelled.
 * - `timeout`: its time is over. Obeying is a failed attempt.
 * - `drain`: the worker process stops. Obeying gives the job back without spending the attempt.
 * - `lease_lost`: the job was taken from this worker process; nothing that it still does counts.
 * - `in_doubt`: a strict job whose lease could not be renewed in time; obeying gives it back.
 * - `handler`: the handler ends itself as cancelled.
 */
export type StopKind = "cancel" | "timeout" | "drain" | "lease_lost" | "in_doubt" | "handler";

/**
 * The cancellation error: the `reason` of a job's `AbortSignal`, and what a handler throws to end as cancelled.
 *
 * @example
 * ```ts
 * job.signal.throwIfAborted();            // after a stop signal
 * throw new Cancelled("nothing to do");   // by itself
 * ```
 */
export class Cancelled extends Error {
  override readonly name = "Cancelled";

  constructor(
    message = "cancelled by the handler",
    /** Who wants it. */
    readonly kind: StopKind = "handler",
    /** How long the handler may still take. */
    readonly graceMs: number = 0,
  ) {
    super(message);
  }
}

/** The error of the class that its code has. */
export function errorOfCode(message: string, data: ErrorData): HaulierError {
  return new CLASSES[data.code](message, data);
}

/** An INVALID_ARGUMENT error found before anything was sent. */
export function invalidField(field: string, description: string): InvalidArgumentError {
  const data = { code: "INVALID_ARGUMENT", reason: "INVALID_FIELD", fields: [{ field, description }] } as const;
  return new InvalidArgumentError(`${field}: ${description}`, data);
}

/** The typed error of whatever a call threw. The caller's own abort reason is given back as it is. */
export function toHaulierError(error: unknown, operation: string, signal?: AbortSignal): unknown {
  if (error instanceof HaulierError) return error;
  if (signal?.aborted) return signal.reason;
  const connect = ConnectError.from(error);
  const info = connect.findDetails(ErrorInfoSchema).find((detail) => detail.domain === "haulier");
  const delay = connect.findDetails(RetryInfoSchema)[0]?.retryDelay;
  const fields = connect
    .findDetails(BadRequestSchema)
    .flatMap((detail) => detail.fieldViolations)
    .map(({ field, description }) => ({ field, description }));
  const told = CODE_NAMES[connect.code] ?? "UNKNOWN";
  const code = info === undefined && isBroken(told, connect) ? "UNAVAILABLE" : told;
  const data = {
    code,
    reason: info?.reason ?? localReason(code, connect),
    metadata: info?.metadata ?? {},
    fields,
    retryDelayMs: delay === undefined ? undefined : Number(delay.seconds) * 1e3 + delay.nanos / 1e6,
    cause: error,
  };
  const why = connect.rawMessage || causeMessage(connect.cause) || code;
  return errorOfCode(`${operation}: ${why}`, data);
}

/**
 * Whether an error without our own details means that the connection broke. Transports tell it under many codes: ABORTED for
 * a reset, CANCELLED for a reset stream, INTERNAL or UNKNOWN for missing trailers or a failed fetch.
 */
function isBroken(code: ErrorCode, error: ConnectError): boolean {
  if (code === "ABORTED" || code === "CANCELLED") return true;
  if (code !== "INTERNAL" && code !== "UNKNOWN") return false;
  const cause = error.cause;
  const nodeCode = cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "";
  return (
    /^(E[A-Z]|UND_ERR|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/.test(nodeCode) ||
    /missing trailer|stream closed|premature|missing end|http\/2|rst_stream|without grpc status|socket|goaway|network|fetch|load failed|terminated|protocol error/i.test(
      error.rawMessage,
    )
  );
}

function causeMessage(cause: unknown): string | undefined {
  return cause instanceof Error ? cause.message : undefined;
}

function localReason(code: ErrorCode, error: ConnectError): ErrorReason {
  switch (code) {
    case "UNAVAILABLE":
      return "SERVER_UNREACHABLE";
    case "DEADLINE_EXCEEDED":
      return "DEADLINE_EXCEEDED";
    case "CANCELLED":
      return "CALL_CANCELLED";
    case "UNAUTHENTICATED":
      return "UNAUTHENTICATED";
    case "UNIMPLEMENTED":
      return "NOT_SUPPORTED";
    case "RESOURCE_EXHAUSTED":
      return "MESSAGE_TOO_LARGE";
    case "OUT_OF_RANGE":
    case "INVALID_ARGUMENT":
      return /message|size|larg/i.test(error.rawMessage) ? "MESSAGE_TOO_LARGE" : "INVALID_FIELD";
    case "INTERNAL":
      return "INTERNAL";
    default:
      return "UNEXPECTED_ANSWER";
  }
}

const CODE_NAMES: Readonly<Record<number, ErrorCode>> = {
  [Code.Canceled]: "CANCELLED",
  [Code.Unknown]: "UNKNOWN",
  [Code.InvalidArgument]: "INVALID_ARGUMENT",
  [Code.DeadlineExceeded]: "DEADLINE_EXCEEDED",
  [Code.NotFound]: "NOT_FOUND",
  [Code.AlreadyExists]: "ALREADY_EXISTS",
  [Code.PermissionDenied]: "PERMISSION_DENIED",
  [Code.ResourceExhausted]: "RESOURCE_EXHAUSTED",
  [Code.FailedPrecondition]: "FAILED_PRECONDITION",
  [Code.Aborted]: "ABORTED",
  [Code.OutOfRange]: "OUT_OF_RANGE",
  [Code.Unimplemented]: "UNIMPLEMENTED",
  [Code.Internal]: "INTERNAL",
  [Code.Unavailable]: "UNAVAILABLE",
  [Code.DataLoss]: "DATA_LOSS",
  [Code.Unauthenticated]: "UNAUTHENTICATED",
};

const CLASSES: Readonly<Record<ErrorCode, new (message: string, data: ErrorData) => HaulierError>> = {
  CANCELLED: AbortedError,
  UNKNOWN: InternalError,
  INVALID_ARGUMENT: InvalidArgumentError,
  DEADLINE_EXCEEDED: DeadlineExceededError,
  NOT_FOUND: NotFoundError,
  ALREADY_EXISTS: AlreadyExistsError,
  PERMISSION_DENIED: PermissionDeniedError,
  RESOURCE_EXHAUSTED: ResourceExhaustedError,
  FAILED_PRECONDITION: FailedPreconditionError,
  ABORTED: AbortedError,
  OUT_OF_RANGE: InvalidArgumentError,
  UNIMPLEMENTED: UnimplementedError,
  INTERNAL: InternalError,
  UNAVAILABLE: UnavailableError,
  DATA_LOSS: InternalError,
  UNAUTHENTICATED: UnauthenticatedError,
};
