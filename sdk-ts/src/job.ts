import type { Client, EnqueueArguments, EnqueueCallOptions, EnqueuedJob, EnqueueItem } from "./client.js";
import type { Command } from "./command.js";
import { Cancelled, errorOfCode, invalidField } from "./errors.js";
import type { EnqueueItem as EnqueueItemMessage } from "./gen/haulier/v1/enqueue_pb.js";
import type { LeasedJob } from "./gen/haulier/v1/lease_pb.js";
import { ENQUEUE_WITH_OUTCOME_MAX, STATUS_BYTES_MAX } from "./limits.js";
import { cutText, type JobLog, jobLog, type LogRecord } from "./log.js";
import { dateOf, type JobOptions, optionsOf } from "./options.js";
import { Payload, payloadOf } from "./payload.js";
import { errorOf, type JobError, type ParentResult, parentOf } from "./record.js";

/** Where a job's reports go. @internal */
export interface JobSink {
  log(record: LogRecord): void;
  progress(fraction: number | undefined, status: string | undefined): void;
  checkpoint(payload: Payload): Promise<void>;
  /** For enqueueing; none in a fake job without one. */
  readonly client: Client | undefined;
}

/** What a handler is given beside its request: who it is, when to stop, and how to report. */
export class Job {
  /** Id; "0" for a transient run. */
  readonly id: string;
  readonly refId: string;
  readonly command: string;
  /** Run of the job, from 1. A requeue starts a new one. */
  readonly run: number;
  /** Number of this attempt in the run, from 1. */
  readonly attempt: number;
  /** How often in this run the worker process went away while the job ran. */
  readonly crashes: number;
  /** Larger than that of every earlier attempt of the job: to fence your own stores. */
  readonly fencingToken: number;
  /** Request as it is stored, before any schema. */
  readonly request: Payload;
  /** Free arguments beside the request. */
  readonly args: Readonly<Record<string, string>>;
  /** User on whose behalf it runs. */
  readonly userId: string | undefined;
  /** Claims of that user. */
  readonly userClaims: Readonly<Record<string, string>>;
  /** The jobs that it depends on, else the one it descends from. */
  readonly parents: readonly ParentResult[];
  /** Checkpoint that an earlier attempt stored; null: none. */
  readonly checkpoint: unknown;
  /** Error of the attempt before this one. */
  readonly lastError: JobError | undefined;
  /** Recurring task that made the job. */
  readonly recurringTask: string | undefined;
  /** When it was stored. For people; never compare it with the local clock. */
  readonly enqueueTime: Date | undefined;
  /** Whether it must stop by itself when the lease is in doubt. */
  readonly strict: boolean;
  /** Whether it is a transient run, never stored. */
  readonly transient: boolean;

  readonly #leased: LeasedJob;
  readonly #sink: JobSink;
  // Made when they are first asked for: most handlers need few of them, and there are thousands of jobs a second.
  #options: JobOptions | undefined;
  #log: JobLog | undefined;
  #controller: AbortController | undefined;
  #items: Promise<EnqueueItemMessage>[] | undefined;
  #stopped: Cancelled | undefined;
  #inDoubt = false;

  /** @internal */
  constructor(leased: LeasedJob, sink: JobSink) {
    this.id = leased.jobId.toString();
    this.refId = leased.refId;
    this.command = leased.work.case === "command" ? leased.work.value : "";
    this.run = leased.run;
    this.attempt = leased.attempt;
    this.crashes = leased.crashes;
    this.fencingToken = Number(leased.fencingToken);
    this.request = payloadOf(leased.request);
    this.args = leased.options?.args ?? {};
    this.userId = leased.userId || undefined;
    this.userClaims = leased.userClaims;
    this.parents = leased.parents.map(parentOf);
    this.checkpoint = payloadOf(leased.checkpoint).value();
    this.lastError = errorOf(leased.lastError);
    this.recurringTask = leased.recurringTask || undefined;
    this.enqueueTime = dateOf(leased.enqueueTime);
    this.strict = leased.strict;
    this.transient = leased.transient;
    this.#leased = leased;
    this.#sink = sink;
  }

  /** Options with their defaults filled in: queue, priority, tag, args and the rest. */
  get options(): JobOptions {
    this.#options ??= optionsOf(this.#leased.options);
    return this.#options;
  }

  /** Stores lines with the job and streams them to its watchers. */
  get log(): JobLog {
    this.#log ??= jobLog((record) => this.#sink.log(record));
    return this.#log;
  }

  /** Aborted when the handler is to stop; its reason is a {@link Cancelled} that says why. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#stopped !== undefined) this.#controller.abort(this.#stopped);
    }
    return this.#controller.signal;
  }

  /** A client over the connection of the worker. */
  get client(): Client {
    if (this.#sink.client !== undefined) return this.#sink.client;
    throw errorOfCode("this fake job has no client: give it one", {
      code: "FAILED_PRECONDITION",
      reason: "WRONG_STATE",
    });
  }

  /** The first of `parents`. */
  get parent(): ParentResult | undefined {
    return this.parents[0];
  }

  /**
   * Result of a parent, read from the server where it was too large to be sent along.
   *
   * @throws NotFoundError when the job has no such parent.
   */
  async parentResult(id: string | undefined = this.parent?.id): Promise<unknown> {
    const parent = this.parents.find((parent) => parent.id === id);
    if (parent === undefined) {
      const data = { code: "NOT_FOUND", reason: "PARENT_NOT_FOUND" } as const;
      throw errorOfCode(id === undefined ? "the job has no parent" : `the job has no parent ${id}`, data);
    }
    return parent.byReference ? (await this.client.get(parent)).result : parent.result;
  }

  /** Whether the lease could not be renewed lately: another worker process may have been given the job. */
  get inDoubt(): boolean {
    return this.#inDoubt;
  }

  /** Why the handler is to stop; undefined: it is not. */
  get stopped(): Cancelled | undefined {
    return this.#stopped;
  }

  /** Reports how much is done, 0 to 1, and optionally a status line. Only the latest is kept; nothing is awaited. */
  progress(fraction: number, status?: string): void {
    if (typeof fraction !== "number" || Number.isNaN(fraction)) {
      throw invalidField("fraction", `${String(fraction)} is no number from 0 to 1`);
    }
    const text = status === undefined ? undefined : cutText(status, STATUS_BYTES_MAX);
    this.#sink.progress(Math.min(1, Math.max(0, fraction)), text);
  }

  /** Reports a status line. */
  status(text: string): void {
    this.#sink.progress(undefined, cutText(text, STATUS_BYTES_MAX));
  }

  /**
   * Stores what the next attempt gets as `checkpoint`, should this one not end. Resolves when it is stored; rejects when the
   * lease is lost or the value is refused.
   */
  async saveCheckpoint(value: unknown): Promise<void> {
    await this.#sink.checkpoint(Payload.of(value, "the checkpoint"));
  }

  /**
   * Enqueues a job now, whether or not this one succeeds. It descends from this job and has its user, claims and trace context
   * unless its options say otherwise.
   */
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
    return this.client.enqueue(command as Command, request, this.#inherit(options), call);
  }

  /**
   * Enqueues a job together with this job's outcome, in one transaction: it is stored if this attempt completes the job, and
   * never otherwise.
   */
  enqueueOnComplete<Input, Request, Result>(
    command: Command<Input, Request, Result>,
    request?: Input,
    options?: JobOptions,
  ): void;
  enqueueOnComplete(command: string, request?: unknown, options?: JobOptions): void;
  enqueueOnComplete(command: string | Command, request?: unknown, options: JobOptions = {}): void {
    this.addToOutcome({ command, request, options });
  }

  /** As {@link enqueueOnComplete}, for any item of a batch: with local keys and API calls. */
  addToOutcome(item: EnqueueItem): void {
    this.#items ??= [];
    const index = this.#items.length;
    if (index >= ENQUEUE_WITH_OUTCOME_MAX) {
      throw invalidField("item", `at most ${ENQUEUE_WITH_OUTCOME_MAX} jobs can be enqueued with an outcome`);
    }
    const message = this.client.itemMessage({ ...item, options: this.#inherit(item.options ?? {}) }, `items[${index}]`);
    message.catch(() => {}); // told when the outcome is made
    this.#items.push(message);
  }

  /** Jobs to store with the outcome; undefined: none. @internal */
  takeItems(): Promise<EnqueueItemMessage[]> | undefined {
    return this.#items && Promise.all(this.#items);
  }

  /** Tells the handler to stop. The first reason stands. @internal */
  stop(reason: Cancelled): void {
    this.#stopped ??= reason;
    this.#controller?.abort(this.#stopped);
  }

  /** @internal */
  markInDoubt(inDoubt: boolean): void {
    this.#inDoubt = inDoubt;
  }

  #inherit(options: JobOptions): JobOptions {
    const { userId, userClaims } = this;
    const { traceparent, tracestate } = this.options;
    return {
      ...(this.transient || this.id === "0" ? {} : { parentId: this.id }),
      ...(userId !== undefined && { userId }),
      ...(Object.keys(userClaims).length > 0 && options.userId === undefined && { userClaims }),
      ...(traceparent !== undefined && { traceparent }),
      ...(tracestate !== undefined && options.traceparent === undefined && { tracestate }),
      ...options,
    };
  }
}

/** The cancellation error of a stop signal that has come. */
export function isCancellation(error: unknown, stopped: Cancelled | undefined): boolean {
  if (error instanceof Cancelled) return true;
  // `fetch` rejects with the reason itself, Node's own functions with an AbortError.
  return stopped !== undefined && error instanceof Error && error.name === "AbortError";
}
