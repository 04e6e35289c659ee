// What Node and browsers have in common: the client half.
export type {
  CommandInfo,
  DeclaredCommand,
  HistoryMonth,
  HistoryRecord,
  Overview,
  Queue,
  Server,
  WorkerProcess,
  WorkerState,
} from "./admin.js";
export {
  type CallOptions,
  type CancelAnswer,
  Client,
  type EnqueueArguments,
  type EnqueueCallOptions,
  type EnqueuedBatch,
  type EnqueuedJob,
  type EnqueueItem,
  type Explanation,
  type JobFilter,
  type JobTarget,
  type Listing,
  type Page,
  type PageOptions,
  type RunOptions,
  type StartedRun,
  type WatchOptions,
} from "./client.js";
export {
  type Command,
  type CommandDefinition,
  defineCommand,
  type Handler,
  type SchemaInput,
  type SchemaOutput,
  type ServedCommand,
} from "./command.js";
export type { Duration } from "./duration.js";
export {
  AbortedError,
  AlreadyExistsError,
  Cancelled,
  DeadlineExceededError,
  type ErrorCode,
  type ErrorReason,
  FailedPreconditionError,
  type FieldViolation,
  HaulierError,
  InternalError,
  InvalidArgumentError,
  JobCancelledError,
  type JobErrorData,
  JobFailedError,
  NonRetryable,
  NotFoundError,
  PermissionDeniedError,
  ResourceExhaustedError,
  RetryAfter,
  type StopKind,
  UnauthenticatedError,
  UnavailableError,
  UnimplementedError,
} from "./errors.js";
export { Lock, type LockInfo, type LockKey, type LockOptions } from "./lock.js";
export type {
  ApiCall,
  Backoff,
  Callback,
  Dependency,
  DependencyCondition,
  JobOptions,
  Priority,
  PriorityName,
  RefIdPolicy,
  ReplyBody,
  ReplyMode,
  RetryPolicy,
  WorkerOrder,
} from "./options.js";
export { type JsonValue, Payload } from "./payload.js";
export {
  type AttemptOutcome,
  type Batch,
  type CancelReason,
  type Delivery,
  type DeliveryAttempt,
  type DeliveryState,
  type FailureReason,
  isSettled,
  type JobAttempt,
  type JobCounts,
  type JobError,
  type JobResult,
  type JobState,
  type JobSummary,
  type LogLevel,
  type LogLine,
  type ParentResult,
} from "./record.js";
export type { CatchUpPolicy, OverlapPolicy, RecurringTask, RecurringTaskDefinition, Schedule } from "./recurring.js";
export { SchemaError, type StandardIssue, type StandardResult, type StandardSchemaV1 } from "./schema.js";
export type { ConnectOptions, TraceContext } from "./transport.js";
export { VERSION } from "./version.js";
export type { GapEvent, WatchEvent, WatchJobsEvent } from "./watch.js";
