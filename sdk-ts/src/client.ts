import { create } from "@bufbuild/protobuf";
import {
  type CallOptions as ConnectCallOptions,
  createClient,
  type Client as RpcClient,
  type Transport,
} from "@connectrpc/connect";
import {
  type CommandInfo,
  commandOf,
  type HistoryMonth,
  type HistoryRecord,
  monthOf,
  type Overview,
  overviewOf,
  type Queue,
  queueOf,
  type Server,
  serverOf,
  type WorkerProcess,
  workerOf,
} from "./admin.js";
import * as check from "./check.js";
import { type Command, checkName } from "./command.js";
import { type Duration, durationMessage, durationMs, durationOfMs, msOfDuration } from "./duration.js";
import {
  DeadlineExceededError,
  errorOfCode,
  type HaulierError,
  InvalidArgumentError,
  invalidField,
  JobCancelledError,
  JobFailedError,
  toHaulierError,
} from "./errors.js";
import { AdminService } from "./gen/haulier/v1/admin_service_pb.js";
import { type EnqueueItem as EnqueueItemMessage, EnqueueItemSchema } from "./gen/haulier/v1/enqueue_pb.js";
import { type JobFilter as JobFilterMessage, JobFilterSchema } from "./gen/haulier/v1/job_filter_pb.js";
import { type CancelResult, JobService, ListOrder, WatchUntil } from "./gen/haulier/v1/job_service_pb.js";
import { LockService } from "./gen/haulier/v1/lock_service_pb.js";
import type { JobOptions as JobOptionsMessage } from "./gen/haulier/v1/options_pb.js";
import { QueueService } from "./gen/haulier/v1/queue_service_pb.js";
import { RecurringTaskService } from "./gen/haulier/v1/recurring_task_service_pb.js";
import { WorkerService } from "./gen/haulier/v1/worker_service_pb.js";
import {
  CALL_TIMEOUT_MS,
  GIVE_BACK_PAUSES_MS,
  LOCK_LEASE_MS,
  LOCK_WAIT_MS,
  PAGE_SIZE,
  RETRY_DELAY_MS,
  RETRY_TIME_MS,
} from "./limits.js";
import { Lock, type LockInfo, type LockKey, type LockOptions, lockInfoOf } from "./lock.js";
import {
  type ApiCall,
  apiCallMessage,
  enumName,
  enumNumber,
  idNumber,
  type JobOptions,
  optionsMessage,
  timestamp,
} from "./options.js";
import { Payload, payloadMessage, payloadOf } from "./payload.js";
import {
  attemptOf,
  type Batch,
  batchOf,
  DELIVERY_STATES,
  type Delivery,
  type DeliveryState,
  datesOf,
  deliveryOf,
  errorOf,
  JOB_STATES,
  type JobAttempt,
  type JobError,
  type JobResult,
  type JobState,
  type JobSummary,
  LOG_LEVELS,
  type LogLevel,
  type LogLine,
  logLineOf,
  resultOf,
  stateOf,
  summaryOf,
} from "./record.js";
import {
  PUT_RESULTS,
  type RecurringTask,
  type RecurringTaskDefinition,
  type Schedule,
  scheduleMessage,
  taskMessage,
  taskOf,
} from "./recurring.js";
import { isRetryable, retryDelayMs, sleep } from "./retry.js";
import { SchemaError, type StandardSchemaV1, validate } from "./schema.js";
import type { ConnectOptions, TraceContext } from "./transport.js";
import { resume, showsOutcome, type WatchEvent, type WatchJobsEvent, watchEventOf, watchJobsEventOf } from "./watch.js";

/** Options of a single call. */
export interface CallOptions {
  /** Ends the call; what it was to do may still happen. */
  readonly signal?: AbortSignal;
  /** Longest time of one try. @default that of the client */
  readonly timeout?: Duration;
}

/** Options of a call that stores something. */
export interface EnqueueCallOptions extends CallOptions {
  /** Makes a repeat of the call do nothing and answer the same, for 24 h. @default fresh for each call, kept over its retries */
  readonly requestId?: string;
}

/** A job that was stored, or found to be there already. `client.wait` and `client.watch` take it. */
export interface EnqueuedJob<Result = unknown> {
  readonly id: string;
  readonly refId: string;
  /** Whether this call stored it. */
  readonly created: boolean;
  readonly state: JobState;
  /** The command that it runs, when one was given as an object: `client.wait` checks the result by its schema. */
  readonly command?: Pick<Command<unknown, unknown, Result>, "name" | "result"> | undefined;
}

/** A job by its id, by its ref id, or as it was enqueued. */
export type JobTarget<Result = unknown> =
  | string
  | EnqueuedJob<Result>
  | { readonly id: string }
  | { readonly refId: string };

/** One job of a batch. */
export type EnqueueItem = {
  /** Name by which other items of the same batch depend on this one. */
  readonly localKey?: string;
  /** @default nothing */
  readonly request?: unknown;
  readonly options?: JobOptions;
} & (
  | { readonly command: string | Command; readonly api?: never }
  | { readonly api: ApiCall; readonly command?: never }
);

/** A stored batch. */
export interface EnqueuedBatch {
  readonly batchId: string;
  /** The jobs, in the order of the items. */
  readonly jobs: readonly (EnqueuedJob & { readonly localKey: string | undefined })[];
}

/** Options of a transient run. */
export type RunOptions = Pick<
  JobOptions,
  | "refId"
  | "queue"
  | "worker"
  | "priority"
  | "timeout"
  | "strict"
  | "tag"
  | "parentId"
  | "userId"
  | "userClaims"
  | "createdBy"
  | "args"
  | "traceparent"
  | "tracestate"
> & {
  /** How long to wait for the result. @default until it ends, which its timeout sees to */
  readonly wait?: Duration;
};

/** A transient run that nobody waits for; known by its ref id while it runs and 60 s after. */
export interface StartedRun {
  readonly refId: string;
  readonly state: JobState;
}

/** Which jobs: all fields that are set must match. */
export interface JobFilter {
  /** In any of these states. @default all */
  readonly states?: readonly Exclude<JobState, "unknown">[];
  readonly command?: string;
  /** A target, or a target, a space and the gRPC method or the path. */
  readonly api?: string;
  readonly queue?: string;
  readonly worker?: string;
  readonly priority?: number;
  readonly tag?: string;
  readonly batchId?: string;
  readonly parentId?: string;
  readonly createdBy?: string;
  readonly userId?: string;
  readonly args?: Readonly<Record<string, string>>;
  readonly replyTo?: string;
  readonly recurringTask?: string;
  readonly refIdPrefix?: string;
  readonly createTimeFrom?: Date;
  readonly createTimeTo?: Date;
  /** Its last error has this code. */
  readonly errorCode?: string;
  /** Command, ref id, tag, status or error text contains this. */
  readonly text?: string;
}

/** One page of a list. */
export interface Page<Item> {
  readonly items: readonly Item[];
  /** Token of the next page; undefined: there is none. */
  readonly nextPageToken: string | undefined;
}

/** Options of one page. */
export interface PageOptions extends CallOptions {
  /** 1 to 500. @default 200 */
  readonly pageSize?: number;
  /** @default the first page */
  readonly pageToken?: string;
}

/**
 * A list: iterate over its items, page by page behind the scenes, or ask for single pages.
 *
 * @example
 * ```ts
 * for await (const job of client.listJobs({ states: ["failed"] })) console.log(job.id);
 * ```
 */
export interface Listing<Item> extends AsyncIterable<Item> {
  /** One page. */
  page(options?: PageOptions): Promise<Page<Item>>;
  /** All items, at most `max`. @default 10,000 */
  all(max?: number): Promise<Item[]>;
}

/** Options of {@link Client.watch}. */
export interface WatchOptions {
  readonly signal?: AbortSignal;
  /** End when the outcome is settled, or when callback and notification have ended too. @default "outcome" */
  readonly until?: "outcome" | "notified";
  /** @default true */
  readonly includeLogs?: boolean;
  /** Begin after this event of an earlier watch. @default from the start */
  readonly resumeToken?: string;
}

/** Answer of {@link Client.cancel}. */
export interface CancelAnswer {
  /** `cancelled`: it will never start. `requested`: it runs and is told. `already_finished`: its outcome stands. */
  readonly result: "cancelled" | "requested" | "already_finished" | undefined;
  readonly job: JobSummary;
}

/** Why a job is not running, or that it is. */
export interface Explanation {
  /** For programs, such as `queue_paused`. */
  readonly code: string;
  /** For people. */
  readonly explanation: string;
  readonly details: Readonly<Record<string, string>>;
  readonly job: JobSummary | undefined;
}

/** Arguments after a command: the request may be left out where the command takes none. */
export type EnqueueArguments<Input> = undefined extends Input
  ? [request?: Input, options?: JobOptions, call?: EnqueueCallOptions]
  : [request: Input, options?: JobOptions, call?: EnqueueCallOptions];

/**
 * What applications call. All methods reject with a `HaulierError`, or with the reason of the `signal` that they were given.
 * UNAVAILABLE and RESOURCE_EXHAUSTED are retried with jitter, for `retryTime` in all; a write keeps its request id meanwhile,
 * so that it is done once.
 */
export class Client {
  /** The transport that it was made with. */
  readonly transport: Transport;
  readonly #jobs: RpcClient<typeof JobService>;
  readonly #timeoutMs: number;
  readonly #retryTimeMs: number;
  readonly #traceContext: (() => TraceContext | undefined) | undefined;

  /** Use `connect` unless you bring a transport of your own. */
  constructor(transport: Transport, options: Pick<ConnectOptions, "timeout" | "retryTime" | "traceContext"> = {}) {
    this.transport = transport;
    this.#jobs = createClient(JobService, transport);
    this.#timeoutMs = options.timeout === undefined ? CALL_TIMEOUT_MS : durationMs(options.timeout, "timeout");
    this.#retryTimeMs = options.retryTime === undefined ? RETRY_TIME_MS : durationMs(options.retryTime, "retryTime");
    this.#traceContext = options.traceContext;
  }

  /** Stores a job that runs a command, before it answers. */
  enqueue<Input, Request, Result>(
    command: Command<Input, Request, Result>,
    ...args: EnqueueArguments<Input>
  ): Promise<EnqueuedJob<Result>>;
  enqueue(command: string, request?: unknown, options?: JobOptions, call?: EnqueueCallOptions): Promise<EnqueuedJob>;
  async enqueue(
    command: string | Command,
    request?: unknown,
    options: JobOptions = {},
    call: EnqueueCallOptions = {},
  ): Promise<EnqueuedJob> {
    const message = {
      command: commandName(command),
      request: payloadMessage(await requestPayload(command, request)),
      options: this.#optionsMessage(options),
      requestId: call.requestId ?? freshId(),
    };
    const send = (connect: ConnectCallOptions) => this.#jobs.enqueueCommand(message, connect);
    const answer = await this.#call(`enqueue ${message.command}`, call, send);
    return enqueuedJob(answer, command);
  }

  /** Stores a job that calls an API of a target in the server's configuration. */
  async enqueueApi(
    api: ApiCall,
    request?: unknown,
    options: JobOptions = {},
    call: EnqueueCallOptions = {},
  ): Promise<EnqueuedJob> {
    const message = {
      api: apiCallMessage(api),
      request: payloadMessage(Payload.of(request, "the request")),
      options: this.#optionsMessage(options),
      requestId: call.requestId ?? freshId(),
    };
    const send = (connect: ConnectCallOptions) => this.#jobs.enqueueApi(message, connect);
    return enqueuedJob(await this.#call(`enqueue API of ${api.target}`, call, send));
  }

  /** Stores several jobs in one transaction, all or none. They may depend on each other by local key. */
  async enqueueBatch(
    items: readonly EnqueueItem[],
    options: EnqueueCallOptions & { readonly batchId?: string } = {},
  ): Promise<EnqueuedBatch> {
    check.list(items, "items");
    const messages = await Promise.all(items.map((item, index) => this.itemMessage(item, `items[${index}]`)));
    const message = { items: messages, batchId: options.batchId ?? "", requestId: options.requestId ?? freshId() };
    const send = (connect: ConnectCallOptions) => this.#jobs.enqueueBatch(message, connect);
    const answer = await this.#call(`enqueue a batch of ${items.length} jobs`, options, send);
    return {
      batchId: answer.batchId,
      jobs: answer.jobs.map((job, index) => ({
        ...enqueuedJob(job, items[index]?.command),
        localKey: job.localKey || undefined,
      })),
    };
  }

  /**
   * Runs a command on a worker now, without storing anything, and waits for its result. It is tried once and does not survive
   * a crash.
   *
   * @throws JobFailedError or JobCancelledError when the run ended so; DEADLINE_EXCEEDED (with `metadata.ref_id`) when `wait`
   * was over first, and the run goes on; UNAVAILABLE with the reason `NO_WORKER_HERE` when nobody who serves the command came
   * within the time that the server waits (2 s).
   */
  runCommand<Input, Request, Result>(
    command: Command<Input, Request, Result>,
    request: Input,
    options?: RunOptions,
    call?: CallOptions,
  ): Promise<Result>;
  runCommand(command: string, request?: unknown, options?: RunOptions, call?: CallOptions): Promise<unknown>;
  async runCommand(
    command: string | Command,
    request?: unknown,
    options: RunOptions = {},
    call: CallOptions = {},
  ): Promise<unknown> {
    const { wait, ...rest } = options;
    const name = commandName(command);
    const waitMs = wait === undefined ? undefined : durationMs(wait, "options.wait");
    const message = {
      command: name,
      request: payloadMessage(await requestPayload(command, request)),
      options: this.#optionsMessage(rest),
      wait: waitMs === undefined ? undefined : durationOfMs(waitMs),
    };
    const timeoutMs = call.timeout ?? (waitMs === undefined ? 0 : waitMs + 10_000);
    const send = (connect: ConnectCallOptions) => this.#jobs.runCommand(message, connect);
    const answer = await this.#call(`run ${name}`, { ...call, timeout: timeoutMs }, send, mayRepeatRun);
    const state = stateOf(answer.state);
    if (state === "completed" || state === "executed") {
      return checkedResult(payloadOf(answer.result).value(), typeof command === "string" ? undefined : command.result);
    }
    if (state === "failed" || state === "cancelled") {
      throw failure({ id: "0", refId: answer.refId, state, attempt: 1 }, errorOf(answer.error));
    }
    throw new DeadlineExceededError(`run ${name}: still ${state} when the wait was over`, {
      code: "DEADLINE_EXCEEDED",
      reason: "DEADLINE_EXCEEDED",
      metadata: { ref_id: answer.refId, state },
    });
  }

  /** Starts a transient run and does not wait: `watch`, `wait`, `cancel` and `get` know it by its ref id. */
  async startCommand(
    command: string | Command,
    request?: unknown,
    options: Omit<RunOptions, "wait"> = {},
    call: CallOptions = {},
  ): Promise<StartedRun> {
    const message = {
      command: commandName(command),
      request: payloadMessage(await requestPayload(command, request)),
      options: this.#optionsMessage(options),
      detach: true,
    };
    const send = (connect: ConnectCallOptions) => this.#jobs.runCommand(message, connect);
    const answer = await this.#call(`run ${message.command}`, call, send, mayRepeatRun);
    return { refId: answer.refId, state: stateOf(answer.state) };
  }

  /** A job with its full record. A transient run is known by its ref id, while it runs and 60 s after. */
  async get(
    target: JobTarget,
    options: CallOptions & { readonly run?: number; readonly includeParent?: boolean } = {},
  ): Promise<JobResult> {
    const job = targetMessage(target);
    const rest = { run: options.run, includeParent: options.includeParent };
    const send = async (connect: ConnectCallOptions) =>
      job.case === "jobId"
        ? this.#jobs.getJob({ jobId: job.value, ...rest }, connect)
        : this.#jobs.getJobByRefId({ refId: job.value, ...rest }, connect);
    const operation = `get job ${targetText(target)}`;
    return present(operation, (await this.#call(operation, options, send)).job, resultOf);
  }

  /** Summaries of the jobs that match a filter. */
  listJobs(
    filter: JobFilter = {},
    options: { readonly order?: "newest_first" | "oldest_first"; readonly month?: string } = {},
  ): Listing<JobSummary> {
    const rest = {
      filter: filterMessage(filter),
      order: options.order === "oldest_first" ? ListOrder.OLDEST_FIRST : ListOrder.UNSPECIFIED,
      month: options.month ?? "",
    };
    return this.#listing(
      "list jobs",
      (page, connect) => this.#jobs.listJobs({ ...rest, ...page }, connect),
      (answer) => answer.jobs.map(summaryOf),
    );
  }

  /**
   * Follows a job until its outcome is settled: a snapshot, then changes, progress and log lines, and a snapshot with the
   * outcome at last. A broken stream is resumed where it was cut, so that no line is lost.
   */
  watch(target: JobTarget, options: WatchOptions = {}): AsyncIterableIterator<WatchEvent> {
    const { until = "outcome", includeLogs, signal } = options;
    const rest = {
      target: targetMessage(target),
      until: until === "notified" ? WatchUntil.NOTIFIED : WatchUntil.OUTCOME,
      includeLogs,
    };
    return resume({
      operation: `watch job ${targetText(target)}`,
      open: (resumeToken) => this.#jobs.watchJob({ ...rest, resumeToken }, { signal }),
      read: watchEventOf,
      tokenOf: (response) => response.resumeToken,
      resumeToken: options.resumeToken ?? "",
      signal,
      retryTimeMs: this.#retryTimeMs,
      isLast: (event) => showsOutcome(event),
      endsAtLast: until === "outcome",
    });
  }

  /** Follows the jobs that match a filter: those that now do, then every change. Ends with its signal only. */
  watchJobs(
    filter: JobFilter = {},
    options: { readonly signal?: AbortSignal; readonly resumeToken?: string } = {},
  ): AsyncIterableIterator<WatchJobsEvent> {
    const { signal } = options;
    const message = filterMessage(filter);
    return resume({
      operation: "watch jobs",
      open: (resumeToken) => this.#jobs.watchJobs({ filter: message, resumeToken }, { signal }),
      read: watchJobsEventOf,
      tokenOf: (response) => response.resumeToken,
      resumeToken: options.resumeToken ?? "",
      signal,
      retryTimeMs: this.#retryTimeMs,
      isLast: () => false,
      endsAtLast: false,
    });
  }

  /**
   * Waits for a job's result.
   *
   * @throws JobFailedError or JobCancelledError when it ended so; DEADLINE_EXCEEDED when `timeout` is over, and the job goes on.
   */
  async wait<Result = unknown>(
    target: JobTarget<Result>,
    options: { readonly signal?: AbortSignal /** @default none */; readonly timeout?: Duration } = {},
  ): Promise<Result> {
    const operation = `wait for job ${targetText(target)}`;
    const { summary, result, error, payloadsHidden } = await this.settled(target, options);
    if (summary.state === "failed" || summary.state === "cancelled") throw failure(summary, error ?? summary.error);
    if (payloadsHidden) {
      const data = { code: "PERMISSION_DENIED", reason: "PAYLOADS_HIDDEN" } as const;
      throw errorOfCode(`${operation}: its result is hidden, the API key lacks the scope \`read payloads\``, data);
    }
    const schema = typeof target === "object" && "command" in target ? target.command?.result : undefined;
    return (await checkedResult(result, schema)) as Result;
  }

  /**
   * Waits until a job has its outcome, and gives its record, whatever the outcome is.
   *
   * @throws DEADLINE_EXCEEDED when `timeout` is over, and the job goes on.
   */
  async settled(
    target: JobTarget,
    options: { readonly signal?: AbortSignal /** @default none */; readonly timeout?: Duration } = {},
  ): Promise<JobResult> {
    const operation = `wait for job ${targetText(target)}`;
    const deadline = options.timeout === undefined ? undefined : deadlineSignal(options.timeout, operation);
    const signals = [options.signal, deadline?.signal].filter((signal) => signal !== undefined);
    const signal = signals.length > 1 ? AbortSignal.any(signals) : signals[0];
    try {
      for await (const event of this.watch(target, { includeLogs: false, ...(signal && { signal }) })) {
        if (showsOutcome(event)) return event.job;
      }
    } finally {
      deadline?.clear();
    }
    throw errorOfCode(`${operation}: the stream ended without an outcome`, {
      code: "INTERNAL",
      reason: "UNEXPECTED_ANSWER",
    });
  }

  /** Cancels a job: at once when it waits, cooperatively when it runs. Dependants are cancelled too. */
  async cancel(
    target: JobTarget,
    options: CallOptions & {
      /** Why, in words; given to the handler. */ readonly reason?: string;
      /** How long a running handler may take to stop. @default "30s" */ readonly grace?: Duration;
    } = {},
  ): Promise<CancelAnswer> {
    const operation = `cancel job ${targetText(target)}`;
    const message = {
      target: targetMessage(target),
      reason: options.reason ?? "",
      grace: durationMessage(options.grace, "grace"),
    };
    const answer = await this.#call(operation, options, (connect) => this.#jobs.cancelJob(message, connect));
    return { result: enumName(CANCEL_RESULTS, answer.result), job: present(operation, answer.job, summaryOf) };
  }

  /** Cancels all jobs that match a filter, which must not be empty. */
  async cancelJobs(
    filter: JobFilter,
    options: CallOptions & {
      readonly reason?: string;
      readonly grace?: Duration;
      /** Only count. @default false */ readonly validateOnly?: boolean;
    } = {},
  ): Promise<{ readonly matchedCount: number; readonly cancelledCount: number; readonly requestedCount: number }> {
    const message = {
      filter: filterMessage(filter),
      reason: options.reason ?? "",
      grace: durationMessage(options.grace, "grace"),
      validateOnly: options.validateOnly ?? false,
    };
    const answer = await this.#call("cancel jobs", options, (connect) => this.#jobs.cancelJobs(message, connect));
    return {
      matchedCount: Number(answer.matchedCount),
      cancelledCount: Number(answer.cancelledCount),
      requestedCount: Number(answer.requestedCount),
    };
  }

  /** Starts a new run of a failed or cancelled job under the same id. */
  async requeue(
    id: string | { readonly id: string },
    options: EnqueueCallOptions & { readonly run?: number; readonly includeDependants?: boolean } = {},
  ): Promise<{ readonly job: JobSummary; readonly created: boolean; readonly dependantCount: number }> {
    const text = typeof id === "string" ? id : id.id;
    const message = {
      jobId: idNumber(text, "id"),
      run: options.run,
      includeDependants: options.includeDependants,
      requestId: options.requestId ?? freshId(),
    };
    const operation = `requeue job ${text}`;
    const answer = await this.#call(operation, options, (connect) => this.#jobs.requeueJob(message, connect));
    return {
      job: present(operation, answer.job, summaryOf),
      created: answer.created,
      dependantCount: Number(answer.dependantCount),
    };
  }

  /** Requeues all failed or cancelled jobs that match a filter, which must not be empty. */
  async requeueJobs(
    filter: JobFilter,
    options: CallOptions & {
      readonly includeDependants?: boolean;
      readonly validateOnly?: boolean;
      /** `YYYY-MM`. @default the two newest months */ readonly month?: string;
    } = {},
  ): Promise<{ readonly matchedCount: number; readonly requeuedCount: number }> {
    const message = {
      filter: filterMessage(filter),
      includeDependants: options.includeDependants,
      validateOnly: options.validateOnly,
      month: options.month,
    };
    const answer = await this.#call("requeue jobs", options, (connect) => this.#jobs.requeueJobs(message, connect));
    return { matchedCount: Number(answer.matchedCount), requeuedCount: Number(answer.requeuedCount) };
  }

  /** Attempts of a job, oldest first. */
  listAttempts(id: string | { readonly id: string }, options: { readonly run?: number } = {}): Listing<JobAttempt> {
    const jobId = idNumber(typeof id === "string" ? id : id.id, "id");
    return this.#listing(
      "list attempts",
      (page, connect) => this.#jobs.listJobAttempts({ jobId, run: options.run, ...page }, connect),
      (answer) => answer.attempts.map(attemptOf),
    );
  }

  /** Log lines of a run, oldest first. */
  listLogs(
    id: string | { readonly id: string },
    options: {
      /** @default the latest */ readonly run?: number;
      /** Fencing token of the attempt to begin with. */ readonly epoch?: number;
      readonly fromSequence?: number;
      readonly minLevel?: LogLevel;
    } = {},
  ): Listing<LogLine> {
    const rest = {
      jobId: idNumber(typeof id === "string" ? id : id.id, "id"),
      run: options.run,
      epoch: BigInt(options.epoch ?? 0),
      fromSequence: BigInt(options.fromSequence ?? 0),
      minLevel: enumNumber(LOG_LEVELS, options.minLevel, "minLevel"),
    };
    return this.#listing(
      "list logs",
      (page, connect) => this.#jobs.listJobLogs({ ...rest, ...page }, connect),
      (answer) => answer.lines.map(logLineOf),
    );
  }

  /** Counts the jobs of a batch by state. */
  async getBatch(batchId: string, call: CallOptions = {}): Promise<Batch> {
    const operation = `get batch ${JSON.stringify(batchId)}`;
    const answer = await this.#call(operation, call, (connect) => this.#jobs.getBatch({ batchId }, connect));
    return present(operation, answer.batch, batchOf);
  }

  /** Notifications with their tries, newest first. */
  listDeliveries(
    filter: { readonly jobId?: string; readonly states?: readonly DeliveryState[] } = {},
  ): Listing<Delivery> {
    const rest = {
      jobId: filter.jobId === undefined ? 0n : idNumber(filter.jobId, "jobId"),
      states: filter.states?.map((state) => enumNumber(DELIVERY_STATES, state, "states")) ?? [],
    };
    return this.#listing(
      "list deliveries",
      (page, connect) => this.#jobs.listDeliveries({ ...rest, ...page }, connect),
      (answer) => answer.deliveries.map(deliveryOf),
    );
  }

  /** Sends a notification once more. */
  async replayDelivery(id: string, call: CallOptions = {}): Promise<Delivery> {
    const message = { deliveryId: idNumber(id, "id") };
    const operation = `replay delivery ${id}`;
    const answer = await this.#call(operation, call, (connect) => this.#jobs.replayDelivery(message, connect));
    return present(operation, answer.delivery, deliveryOf);
  }

  /** Says why a job is not running. */
  async explain(target: JobTarget, call: CallOptions = {}): Promise<Explanation> {
    const message = { target: targetMessage(target) };
    const operation = `explain job ${targetText(target)}`;
    const answer = await this.#call(operation, call, (connect) => this.#jobs.explainJob(message, connect));
    return {
      code: EXPLAIN_CODES[answer.code] || "unknown",
      explanation: answer.explanation,
      details: answer.details,
      job: answer.job && summaryOf(answer.job),
    };
  }

  /** Makes or updates a recurring task by its name. Putting it again never fires, resets or unpauses it. */
  async putRecurringTask(
    task: RecurringTaskDefinition,
    call: CallOptions = {},
  ): Promise<{ readonly task: RecurringTask; readonly result: "created" | "updated" | "unchanged" | undefined }> {
    const message = { task: taskMessage(task) };
    const operation = `put recurring task${task.name === undefined ? "" : ` ${JSON.stringify(task.name)}`}`;
    const answer = await this.#call(operation, call, (connect) => this.#recurring.putRecurringTask(message, connect));
    return { task: present(operation, answer.task, taskOf), result: enumName(PUT_RESULTS, answer.result) };
  }

  async getRecurringTask(name: string, call: CallOptions = {}): Promise<RecurringTask> {
    const operation = `get recurring task ${JSON.stringify(name)}`;
    const answer = await this.#call(operation, call, (connect) => this.#recurring.getRecurringTask({ name }, connect));
    return present(operation, answer.task, taskOf);
  }

  /** Recurring tasks, by name, without their requests. */
  listRecurringTasks(
    filter: {
      readonly namePrefix?: string;
      readonly command?: string;
      /** Only tasks that an operator has paused, or only those that none has. @default all */
      readonly paused?: boolean;
      /** Only tasks that are enabled, or only those that are not. @default all */
      readonly enabled?: boolean;
    } = {},
  ): Listing<RecurringTask> {
    return this.#listing(
      "list recurring tasks",
      (page, connect) => this.#recurring.listRecurringTasks({ ...filter, ...page }, connect),
      (answer) => answer.tasks.map(taskOf),
    );
  }

  /** Deletes a recurring task; its jobs stay as they are. Answers the task as it was. */
  async deleteRecurringTask(name: string, call: CallOptions = {}): Promise<RecurringTask> {
    const operation = `delete recurring task ${JSON.stringify(name)}`;
    const send = (connect: ConnectCallOptions) => this.#recurring.deleteRecurringTask({ name }, connect);
    return present(operation, (await this.#call(operation, call, send)).task, taskOf);
  }

  /** Pauses a recurring task: it is not due until it is resumed. */
  async pauseRecurringTask(
    name: string,
    options: CallOptions & { readonly reason?: string } = {},
  ): Promise<RecurringTask> {
    const operation = `pause recurring task ${JSON.stringify(name)}`;
    const message = { name, reason: options.reason };
    const send = (connect: ConnectCallOptions) => this.#recurring.pauseRecurringTask(message, connect);
    return present(operation, (await this.#call(operation, options, send)).task, taskOf);
  }

  /** Resumes a recurring task: it goes on with the next due time from now. */
  async resumeRecurringTask(name: string, call: CallOptions = {}): Promise<RecurringTask> {
    const operation = `resume recurring task ${JSON.stringify(name)}`;
    const send = (connect: ConnectCallOptions) => this.#recurring.resumeRecurringTask({ name }, connect);
    return present(operation, (await this.#call(operation, call, send)).task, taskOf);
  }

  /** Runs a recurring task now; when it is due next stays as it is. */
  async triggerRecurringTask(
    name: string,
    call: EnqueueCallOptions = {},
  ): Promise<{ readonly jobId: string | undefined; readonly refId: string; readonly created: boolean }> {
    const message = { name, requestId: call.requestId ?? freshId() };
    const send = (connect: ConnectCallOptions) => this.#recurring.triggerRecurringTask(message, connect);
    const answer = await this.#call(`trigger recurring task ${JSON.stringify(name)}`, call, send);
    return {
      jobId: answer.jobId === 0n ? undefined : answer.jobId.toString(),
      refId: answer.refId,
      created: answer.created,
    };
  }

  /** The next times of a schedule, without storing anything. */
  async previewSchedule(
    schedule: Schedule,
    options: CallOptions & {
      /** At most 500. @default 5 */ readonly count?: number;
      /** @default now */ readonly afterTime?: Date;
      readonly endTime?: Date;
    } = {},
  ): Promise<{ readonly times: readonly Date[]; readonly localTimes: readonly string[] }> {
    const message = {
      schedule: scheduleMessage(schedule),
      count: options.count,
      afterTime: timestamp(options.afterTime, "afterTime"),
      endTime: timestamp(options.endTime, "endTime"),
    };
    const send = (connect: ConnectCallOptions) => this.#recurring.previewSchedule(message, connect);
    const answer = await this.#call("preview schedule", options, send);
    return { times: datesOf(answer.times), localTimes: answer.localTimes };
  }

  async getQueue(name: string, call: CallOptions = {}): Promise<Queue> {
    const operation = `get queue ${JSON.stringify(name)}`;
    const answer = await this.#call(operation, call, (connect) => this.#queues.getQueue({ name }, connect));
    return present(operation, answer.queue, queueOf);
  }

  /** Queues, by name. */
  listQueues(): Listing<Queue> {
    return this.#listing(
      "list queues",
      (page, connect) => this.#queues.listQueues(page, connect),
      (answer) => answer.queues.map(queueOf),
    );
  }

  /** Pauses a queue on all servers: running jobs go on, no other starts. */
  async pauseQueue(name: string, options: CallOptions & { readonly reason?: string } = {}): Promise<Queue> {
    const operation = `pause queue ${JSON.stringify(name)}`;
    const message = { name, reason: options.reason };
    const answer = await this.#call(operation, options, (connect) => this.#queues.pauseQueue(message, connect));
    return present(operation, answer.queue, queueOf);
  }

  async resumeQueue(name: string, call: CallOptions = {}): Promise<Queue> {
    const operation = `resume queue ${JSON.stringify(name)}`;
    const answer = await this.#call(operation, call, (connect) => this.#queues.resumeQueue({ name }, connect));
    return present(operation, answer.queue, queueOf);
  }

  /** Sets the limits of a queue; null lifts a limit, one that is left out stays as it is. */
  async updateQueue(
    name: string,
    limits: {
      readonly concurrencyLimit?: number | null;
      readonly rateLimit?: { readonly count: number /** @default "1s" */; readonly period?: Duration } | null;
    },
    call: CallOptions = {},
  ): Promise<Queue> {
    const { concurrencyLimit, rateLimit } = limits;
    const paths = [
      ...(concurrencyLimit === undefined ? [] : ["concurrency_limit"]),
      ...(rateLimit === undefined ? [] : ["rate_limit"]),
    ];
    if (paths.length === 0) throw invalidField("limits", "names no limit: give concurrencyLimit or rateLimit");
    const message = {
      queue: {
        name,
        concurrencyLimit: concurrencyLimit ?? undefined,
        rateLimit: rateLimit
          ? { count: rateLimit.count, period: durationMessage(rateLimit.period, "rateLimit.period") }
          : undefined,
      },
      updateMask: { paths },
    };
    const operation = `update queue ${JSON.stringify(name)}`;
    const answer = await this.#call(operation, call, (connect) => this.#queues.updateQueue(message, connect));
    return present(operation, answer.queue, queueOf);
  }

  /**
   * Acquires a named lock over all servers; undefined when another holds it and the wait was over. The lock renews itself
   * until it is released or lost. When the call fails or is aborted, what it may have acquired is given back, unless the owner id
   * is one of your own: then whoever asks with it again gets it, else its lease time ends it.
   */
  async lock(name: string, options: LockOptions & CallOptions = {}): Promise<Lock | undefined> {
    const { signal } = options;
    const forever = options.wait === "forever";
    const waitMs = options.wait === undefined || options.wait === "forever" ? 0 : durationMs(options.wait, "wait");
    const leaseTimeMs = options.leaseTime === undefined ? LOCK_LEASE_MS : durationMs(options.leaseTime, "leaseTime");
    const leaseTime = durationOfMs(leaseTimeMs);
    const ownerId = options.ownerId ?? freshId();
    const operation = `acquire lock ${name}`;
    const begin = performance.now();
    for (;;) {
      const left = forever ? LOCK_WAIT_MS : Math.max(0, Math.min(waitMs - (performance.now() - begin), LOCK_WAIT_MS));
      const wait = left === 0 ? undefined : durationOfMs(left);
      const message = { name, ownerId, owner: options.owner ?? "", leaseTime, wait };
      const timeout = options.timeout ?? this.#timeoutMs + left;
      // When the try that was answered was sent.
      let sentAt = 0;
      const send = (connect: ConnectCallOptions) => {
        sentAt = performance.now();
        return this.#locks.acquireLock(message, connect);
      };
      const answer = await this.#call(operation, { ...options, timeout }, send).catch((error: unknown) => {
        const isRefused = error instanceof InvalidArgumentError;
        if (options.ownerId === undefined && !isRefused) void this.#giveBack(name, ownerId);
        throw error;
      });
      if (answer.acquired) {
        const heldMs = answer.leaseTime === undefined ? leaseTimeMs : msOfDuration(answer.leaseTime);
        const key: LockKey = { name, ownerId, fencingToken: Number(answer.fencingToken) };
        return new Lock(
          key,
          { leaseTimeMs, heldMs, sentAt },
          {
            renew: (call) => this.#renewLock(key, leaseTimeMs, call, () => false),
            release: () => this.releaseLock(key),
          },
        );
      }
      if (!forever && performance.now() - begin >= waitMs) return undefined;
      await sleep(50, signal); // a server that does not wait as long as asked is not asked in a circle
    }
  }

  /**
   * Holds a lock that nothing renews by itself for longer: one of `lock.detach()`, or of another process. Answers for how many
   * milliseconds from now.
   *
   * @throws AbortedError with the reason `LOCK_LOST` when another holds it, or it was broken.
   */
  renewLock(key: LockKey, leaseTime: Duration, call: CallOptions = {}): Promise<number> {
    return this.#renewLock(key, durationMs(leaseTime, "leaseTime"), call);
  }

  /** Releases a lock of `lock.detach()`, or of another process. Answers whether it was held until now. */
  async releaseLock(key: LockKey, call: CallOptions = {}): Promise<boolean> {
    const message = { name: key.name, ownerId: key.ownerId, fencingToken: BigInt(key.fencingToken) };
    const send = (connect: ConnectCallOptions) => this.#locks.releaseLock(message, connect);
    return (await this.#call(`release lock ${key.name}`, call, send)).released;
  }

  /** Of a call whose answer never came: what it may have acquired is released. The server may be at that call still. */
  async #giveBack(name: string, ownerId: string): Promise<void> {
    const whichever = { name, ownerId, fencingToken: 0 };
    try {
      for (const pauseMs of GIVE_BACK_PAUSES_MS) {
        await sleep(pauseMs);
        if (await this.releaseLock(whichever)) return;
      }
    } catch {
      // Its lease time ends it.
    }
  }

  async #renewLock(
    { name, ownerId, fencingToken }: LockKey,
    leaseTimeMs: number,
    call: CallOptions,
    mayRepeat?: () => boolean,
  ): Promise<number> {
    const message = { name, ownerId, fencingToken: BigInt(fencingToken), leaseTime: durationOfMs(leaseTimeMs) };
    const send = (connect: ConnectCallOptions) => this.#locks.renewLock(message, connect);
    const answer = await this.#call(`renew lock ${name}`, call, send, mayRepeat);
    return answer.leaseTime === undefined ? leaseTimeMs : msOfDuration(answer.leaseTime);
  }

  /** Locks that are held, by name. */
  listLocks(filter: { readonly namePrefix?: string } = {}): Listing<LockInfo> {
    return this.#listing(
      "list locks",
      (page, connect) => this.#locks.listLocks({ ...filter, ...page }, connect),
      (answer) => answer.locks.map(lockInfoOf),
    );
  }

  /** Takes a lock from its holder, who hears of it at its next renewal. Answers the lock as it was held. */
  async breakLock(
    name: string,
    options: CallOptions & { readonly fencingToken?: number; readonly reason?: string } = {},
  ): Promise<LockInfo> {
    const message = { name, fencingToken: BigInt(options.fencingToken ?? 0), reason: options.reason };
    const operation = `break lock ${name}`;
    const send = (connect: ConnectCallOptions) => this.#locks.breakLock(message, connect);
    return present(operation, (await this.#call(operation, options, send, () => false)).lock, lockInfoOf);
  }

  /** Worker processes, by name and start. */
  listWorkers(filter: { readonly command?: string; readonly queue?: string } = {}): Listing<WorkerProcess> {
    return this.#listing(
      "list workers",
      (page, connect) => this.#workers.listWorkers({ ...filter, ...page }, connect),
      (answer) => answer.workers.map(workerOf),
    );
  }

  /** Tells worker processes to end what they hold and claim nothing more. Answers those that were told. */
  async drainWorker(
    target: { readonly instanceId: string } | { readonly name: string },
    options: CallOptions & { readonly reason?: string /** @default "30s" */; readonly grace?: Duration } = {},
  ): Promise<readonly WorkerProcess[]> {
    const message = {
      target:
        "instanceId" in target
          ? { case: "instanceId" as const, value: target.instanceId }
          : { case: "name" as const, value: target.name },
      reason: options.reason,
      grace: durationMessage(options.grace, "grace"),
    };
    const answer = await this.#call("drain worker", options, (connect) => this.#workers.drainWorker(message, connect));
    return answer.workers.map(workerOf);
  }

  /** Figures for the dashboard. */
  async getOverview(
    options: CallOptions & { /** 1 to 168. @default 24 */ readonly hours?: number } = {},
  ): Promise<Overview> {
    const message = { hours: options.hours };
    const answer = await this.#call("get overview", options, (connect) => this.#admin.getOverview(message, connect));
    return present("get overview", answer.overview, overviewOf);
  }

  /** Commands that are served or that live jobs name, by name. */
  listCommands(filter: { readonly namePrefix?: string } = {}): Listing<CommandInfo> {
    return this.#listing(
      "list commands",
      (page, connect) => this.#admin.listCommands({ ...filter, ...page }, connect),
      (answer) => answer.commands.map(commandOf),
    );
  }

  /** Servers on this database, by name. */
  listServers(): Listing<Server> {
    return this.#listing(
      "list servers",
      (page, connect) => this.#admin.listServers(page, connect),
      (answer) => answer.servers.map(serverOf),
    );
  }

  /** Months of history, newest first. */
  listHistoryMonths(): Listing<HistoryMonth> {
    return this.#listing(
      "list history months",
      (page, connect) => this.#admin.listHistoryMonths(page, connect),
      (answer) => answer.months.map(monthOf),
    );
  }

  /** A month of history, job by job: each run with its record, then its attempts, then its log lines. */
  exportHistoryMonth(
    month: string,
    options: {
      readonly includeAttempts?: boolean;
      readonly includeLogs?: boolean;
      readonly resumeToken?: string;
      readonly signal?: AbortSignal;
    } = {},
  ): AsyncIterableIterator<HistoryRecord> {
    const { includeAttempts, includeLogs, signal } = options;
    return resume({
      operation: `export history of ${month}`,
      open: (resumeToken) =>
        this.#admin.exportHistoryMonth({ month, includeAttempts, includeLogs, resumeToken }, { signal }),
      read: ({ record, resumeToken, jobId }): HistoryRecord | undefined => {
        const base = { resumeToken, jobId: jobId.toString() };
        if (record.case === "job") return { ...base, kind: "job", job: resultOf(record.value) };
        if (record.case === "attempt") return { ...base, kind: "attempt", attempt: attemptOf(record.value) };
        if (record.case === "logLine") return { ...base, kind: "log", line: logLineOf(record.value) };
        return undefined;
      },
      tokenOf: (response) => response.resumeToken,
      resumeToken: options.resumeToken ?? "",
      signal,
      retryTimeMs: this.#retryTimeMs,
      isLast: () => true,
      endsAtLast: false,
    });
  }

  /** Drops a month of history with its attempts and logs. Answers the month as it was. */
  async dropHistoryMonth(
    month: string,
    options: CallOptions & { readonly validateOnly?: boolean } = {},
  ): Promise<HistoryMonth> {
    const message = { month, validateOnly: options.validateOnly };
    const operation = `drop history of ${month}`;
    const send = (connect: ConnectCallOptions) => this.#admin.dropHistoryMonth(message, connect);
    return present(operation, (await this.#call(operation, options, send)).month, monthOf);
  }

  /** An item of a batch as the contract has it. @internal */
  async itemMessage(item: EnqueueItem, field: string): Promise<EnqueueItemMessage> {
    const options = this.#optionsMessage(item.options ?? {}, `${field}.options`);
    const localKey = item.localKey ?? "";
    if (item.api !== undefined) {
      const value = {
        api: apiCallMessage(item.api, `${field}.api`),
        request: payloadMessage(Payload.of(item.request, `${field}.request`)),
        options,
      };
      return create(EnqueueItemSchema, { localKey, work: { case: "api", value } });
    }
    const value = {
      command: commandName(item.command, `${field}.command`),
      request: payloadMessage(await requestPayload(item.command, item.request)),
      options,
    };
    return create(EnqueueItemSchema, { localKey, work: { case: "command", value } });
  }

  get #recurring(): RpcClient<typeof RecurringTaskService> {
    return createClient(RecurringTaskService, this.transport);
  }
  get #queues(): RpcClient<typeof QueueService> {
    return createClient(QueueService, this.transport);
  }
  get #locks(): RpcClient<typeof LockService> {
    return createClient(LockService, this.transport);
  }
  get #workers(): RpcClient<typeof WorkerService> {
    return createClient(WorkerService, this.transport);
  }
  get #admin(): RpcClient<typeof AdminService> {
    return createClient(AdminService, this.transport);
  }

  #optionsMessage(options: JobOptions, field?: string): JobOptionsMessage | undefined {
    const trace = options.traceparent === undefined ? this.#traceContext?.() : undefined;
    return optionsMessage(trace === undefined ? options : { ...options, ...trace }, field);
  }

  /** Calls, and calls again where a repeat may help. */
  async #call<Answer>(
    operation: string,
    call: CallOptions,
    send: (connect: ConnectCallOptions) => Promise<Answer>,
    mayRepeat: (error: HaulierError) => boolean = () => true,
  ): Promise<Answer> {
    const { signal } = call;
    const wishMs = call.timeout === undefined ? this.#timeoutMs : durationMs(call.timeout, "timeout");
    const timeoutMs = Math.min(Math.ceil(wishMs), TIMEOUT_MS_MAX);
    const connect: ConnectCallOptions = { ...(signal && { signal }), ...(timeoutMs > 0 && { timeoutMs }) };
    const begin = performance.now();
    for (let repeat = 0; ; repeat++) {
      try {
        return await send(connect);
      } catch (error) {
        const typed = toHaulierError(error, operation, signal);
        if (!isRetryable(typed) || !mayRepeat(typed)) throw typed;
        const delay = retryDelayMs(typed, repeat, RETRY_DELAY_MS);
        if (performance.now() - begin + delay > this.#retryTimeMs) throw typed;
        await sleep(delay, signal);
      }
    }
  }

  #listing<Answer extends { readonly nextPageToken: string }, Item>(
    operation: string,
    send: (page: { pageSize: number; pageToken: string }, connect: ConnectCallOptions) => Promise<Answer>,
    read: (answer: Answer) => Item[],
  ): Listing<Item> {
    const page = async (options: PageOptions = {}): Promise<Page<Item>> => {
      const request = { pageSize: options.pageSize ?? PAGE_SIZE, pageToken: options.pageToken ?? "" };
      const answer = await this.#call(operation, options, (connect) => send(request, connect));
      return { items: read(answer), nextPageToken: answer.nextPageToken || undefined };
    };
    async function* items(): AsyncGenerator<Item, void, undefined> {
      let pageToken: string | undefined;
      do {
        const { items, nextPageToken } = await page(pageToken === undefined ? {} : { pageToken });
        yield* items;
        pageToken = nextPageToken;
      } while (pageToken !== undefined);
    }
    const all = async (max = 10_000): Promise<Item[]> => {
      const found: Item[] = [];
      for await (const item of items()) {
        if (found.length >= max) break;
        found.push(item);
      }
      return found;
    };
    return { page, all, [Symbol.asyncIterator]: items };
  }
}

/** The wire holds eight digits of milliseconds; a longer timeout is as good as none. */
const TIMEOUT_MS_MAX = 99_999_999;

const CANCEL_RESULTS = ["", "cancelled", "requested", "already_finished"] as const satisfies Record<
  CancelResult,
  string
>;
const EXPLAIN_CODES = [
  "",
  "scheduled",
  "backoff",
  "waiting_for_parents",
  "worker_busy",
  "queue_paused",
  "concurrency_limit",
  "rate_limit",
  "command_not_served",
  "queue_not_served",
  "workers_draining",
  "workers_full",
  "quarantined",
  "pool_off",
  "about_to_start",
  "running",
  "stopping",
  "in_doubt",
  "executed",
  "finished",
] as const;

/**
 * A transient run is tried once: it is repeated only where the server said that it has not begun, or could not be reached at all.
 * For a worker the server has waited itself.
 */
function mayRepeatRun(error: HaulierError): boolean {
  if (error.reason === "SERVER_UNREACHABLE") return /ECONNREFUSED|ENOTFOUND|EAI_AGAIN/.test(error.message);
  return error.reason !== "NO_WORKER_HERE";
}

/** A fresh id, also where a browser's page is not served over https. */
export function freshId(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function commandName(command: string | Pick<Command, "name">, field = "command"): string {
  const name = typeof command === "string" ? command : command?.name;
  checkName(name, field);
  return name;
}

/** The request as it is sent: what the caller gave, after the command's schema has accepted it. */
async function requestPayload(command: string | Command, request: unknown): Promise<Payload> {
  const schema = typeof command === "string" ? undefined : command.request;
  if (schema !== undefined && !(request instanceof Payload)) {
    try {
      await validate(schema as StandardSchemaV1, request, "the request");
    } catch (error) {
      if (!(error instanceof SchemaError)) throw error;
      const fields = error.issues.map((issue) => ({
        field: [
          "request",
          ...(issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)),
        ].join("."),
        description: issue.message,
      }));
      throw new InvalidArgumentError(`enqueue ${commandName(command)}: ${error.message}`, {
        code: "INVALID_ARGUMENT",
        reason: "INVALID_FIELD",
        fields,
        cause: error,
      });
    }
  }
  return Payload.of(request, "the request");
}

async function checkedResult(
  result: unknown,
  schema: StandardSchemaV1<unknown, unknown> | undefined,
): Promise<unknown> {
  if (schema === undefined) return result;
  try {
    return await validate(schema, result, "the result");
  } catch (cause) {
    if (!(cause instanceof SchemaError)) throw cause;
    throw errorOfCode(cause.message, { code: "INVALID_ARGUMENT", reason: "UNREADABLE_PAYLOAD", cause });
  }
}

function enqueuedJob(
  answer: { readonly jobId: bigint; readonly refId: string; readonly created: boolean; readonly state: number },
  command?: string | Command,
): EnqueuedJob {
  const job = {
    id: answer.jobId.toString(),
    refId: answer.refId,
    created: answer.created,
    state: stateOf(answer.state),
  };
  return typeof command === "object" ? Object.defineProperty(job, "command", { value: command }) : job;
}

function targetMessage(target: JobTarget): { case: "jobId"; value: bigint } | { case: "refId"; value: string } {
  if (typeof target === "string") return { case: "jobId", value: idNumber(target, "id") };
  if ("id" in target && target.id !== "0") return { case: "jobId", value: idNumber(target.id, "id") };
  if ("refId" in target && target.refId !== "") return { case: "refId", value: target.refId };
  throw invalidField("target", "names no job: give an id, or an object with id or refId");
}

function targetText(target: JobTarget): string {
  if (typeof target === "string") return target;
  return "id" in target && target.id !== "0" ? target.id : "refId" in target ? JSON.stringify(target.refId) : "";
}

function failure(
  job: Pick<JobSummary, "id" | "refId" | "state" | "attempt"> & Partial<JobSummary>,
  error: JobError | undefined,
): JobFailedError {
  const name = job.id === "0" ? `run ${job.refId}` : `job ${job.id}`;
  const data = {
    jobId: job.id,
    refId: job.refId,
    jobCode: error?.code ?? "",
    jobStack: error?.stack,
    failureReason: error?.reason,
    attempts: job.attempt,
  };
  if (job.state === "cancelled") {
    const why = job.cancelMessage ?? job.cancelReason ?? error?.message;
    return new JobCancelledError(`${name} was cancelled${why ? `: ${why}` : ""}`, data, job.cancelReason);
  }
  return new JobFailedError(`${name} failed: ${error?.message || error?.code || "no error was told"}`, data);
}

function deadlineSignal(timeout: Duration, operation: string): { readonly signal: AbortSignal; clear(): void } {
  const controller = new AbortController();
  const ms = durationMs(timeout, "timeout");
  const timer = setTimeout(() => {
    const data = { code: "DEADLINE_EXCEEDED", reason: "DEADLINE_EXCEEDED" } as const;
    controller.abort(new DeadlineExceededError(`${operation}: not ended after ${ms} ms`, data));
  }, ms);
  return { signal: controller.signal, clear: () => clearTimeout(timer) };
}

/** What an answer must hold. */
function present<Message, Read>(
  operation: string,
  message: Message | undefined,
  read: (message: Message) => Read,
): Read {
  if (message !== undefined) return read(message);
  throw errorOfCode(`${operation}: the answer lacks what was asked for`, {
    code: "INTERNAL",
    reason: "UNEXPECTED_ANSWER",
  });
}

function filterMessage(filter: JobFilter): JobFilterMessage {
  check.object(filter, "filter");
  const message = create(JobFilterSchema);
  for (const [name, value] of Object.entries(filter)) {
    if (value === undefined) continue;
    const field = `filter.${name}`;
    if (name === "states") {
      message.states = check.list(filter.states ?? [], field).map((state) => enumNumber(JOB_STATES, state, field));
    } else if (name === "priority") message.priority = check.whole(value, field);
    else if (name === "parentId") message.parentId = idNumber(value as string, field);
    else if (name === "args") message.args = check.texts(value, field);
    else if (name === "createTimeFrom" || name === "createTimeTo") message[name] = timestamp(value as Date, field);
    else if (FILTER_TEXTS.has(name)) Object.assign(message, { [name]: check.text(value, field) });
    else throw invalidField(field, "is no filter");
  }
  return message;
}

const FILTER_TEXTS: ReadonlySet<string> = new Set([
  "command",
  "api",
  "queue",
  "worker",
  "tag",
  "batchId",
  "createdBy",
  "userId",
  "replyTo",
  "recurringTask",
  "refIdPrefix",
  "errorCode",
  "text",
] satisfies (keyof JobFilter)[]);
