/**
 * The test kit: runs a handler with a fake job, without a server, and shows what it reported.
 *
 * @packageDocumentation
 */
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Client } from "./client.js";
import type { Handler, ServedCommand } from "./command.js";
import { type Duration, durationMs, durationOfMs } from "./duration.js";
import { Cancelled, type StopKind } from "./errors.js";
import { JobState } from "./gen/haulier/v1/job_pb.js";
import { LeasedJobSchema } from "./gen/haulier/v1/lease_pb.js";
import { Job } from "./job.js";
import type { LogRecord } from "./log.js";
import { type JobOptions, optionsMessage } from "./options.js";
import { type Outcome, runHandler } from "./outcome.js";
import { Payload, payloadMessage, payloadOf } from "./payload.js";

/** What a fake job is. */
export interface FakeJobOptions {
  readonly id?: string;
  readonly refId?: string;
  readonly command?: string;
  /** Request as a caller would give it. @default nothing */
  readonly request?: unknown;
  readonly options?: JobOptions;
  /** @default 1 */
  readonly attempt?: number;
  /** @default 1 */
  readonly run?: number;
  /** @default 1 */
  readonly fencingToken?: number;
  readonly userId?: string;
  readonly userClaims?: Readonly<Record<string, string>>;
  /** Checkpoint of an earlier attempt. @default none */
  readonly checkpoint?: unknown;
  /** Parents with their results. @default none */
  readonly parents?: readonly { readonly id?: string; readonly request?: unknown; readonly result?: unknown }[];
  /** Stop the handler after so long, as a timeout does. @default never */
  readonly timeout?: Duration;
  /** For handlers that enqueue: a client, or the part of one that they use. @default none */
  readonly client?: Client;
}

/** How a handler ended. */
export type FakeOutcome =
  | {
      readonly kind: "complete";
      /** Result, as whoever waits for it gets it. */
      readonly result: unknown;
      /** Jobs enqueued together with the outcome. */
      readonly enqueued: readonly { readonly command: string; readonly request: unknown; readonly localKey: string }[];
    }
  | Exclude<Outcome, { readonly kind: "complete" }>;

/**
 * A job without a server.
 *
 * @example
 * ```ts
 * const fake = new FakeJob({ request: { image: "cat.png", width: 100 } });
 * const outcome = await fake.run(resize.handle(resizeHandler));
 * expect(outcome).toEqual({ kind: "complete", result: "cat.png@100", enqueued: [] });
 * expect(fake.progress).toEqual([{ fraction: 0.5, status: "half way" }]);
 * ```
 */
export class FakeJob {
  /** The job that handlers are given. */
  readonly job: Job;
  /** What was logged, in order. */
  readonly logs: LogRecord[] = [];
  /** Every progress and status that was reported, in order. */
  readonly progress: { readonly fraction: number | undefined; readonly status: string | undefined }[] = [];
  /** Every checkpoint that was saved, in order. */
  readonly checkpoints: unknown[] = [];
  readonly #timeoutMs: number | undefined;

  constructor(options: FakeJobOptions = {}) {
    const of = (value: unknown) => payloadMessage(Payload.of(value));
    this.#timeoutMs = options.timeout === undefined ? undefined : durationMs(options.timeout, "timeout");
    const leased = create(LeasedJobSchema, {
      lease: "fake",
      fencingToken: BigInt(options.fencingToken ?? 1),
      jobId: BigInt(options.id ?? "1"),
      refId: options.refId ?? "fake",
      work: { case: "command", value: options.command ?? "fake" },
      request: of(options.request),
      options: optionsMessage(options.options ?? {}),
      run: options.run ?? 1,
      attempt: options.attempt ?? 1,
      timeout: this.#timeoutMs === undefined ? undefined : durationOfMs(this.#timeoutMs),
      parents: (options.parents ?? []).map((parent, index) => ({
        jobId: BigInt(parent.id ?? String(index + 1)),
        state: JobState.COMPLETED,
        request: of(parent.request),
        result: of(parent.result),
      })),
      userId: options.userId ?? options.options?.userId ?? "",
      userClaims: { ...(options.userClaims ?? options.options?.userClaims) },
      checkpoint: of(options.checkpoint),
      enqueueTime: timestampFromDate(new Date()),
      strict: options.options?.strict ?? false,
    });
    this.job = new Job(leased, {
      log: (record) => this.logs.push(record),
      progress: (fraction, status) => this.progress.push({ fraction, status }),
      checkpoint: async (payload) => void this.checkpoints.push(payload.value()),
      client: options.client,
    });
  }

  /** Tells the handler to stop, as a cancel, a timeout, a drain or a lost lease does. */
  stop(kind: StopKind = "cancel", reason: string = kind): void {
    this.job.stop(new Cancelled(reason, kind));
  }

  /** Runs a handler, or a command with its handler: then the request is checked by its schema. Never rejects. */
  async run(command: ServedCommand | Handler<never, unknown>): Promise<FakeOutcome> {
    const served = (typeof command === "function" ? { handler: command } : command) as unknown as ServedCommand;
    const timer =
      this.#timeoutMs === undefined
        ? undefined
        : setTimeout(() => this.stop("timeout", "its time is over"), this.#timeoutMs);
    const outcome = await runHandler(served, this.job);
    clearTimeout(timer);
    if (outcome.kind !== "complete") return outcome;
    return {
      kind: "complete",
      result: outcome.result.value(),
      enqueued: outcome.enqueue.map(({ localKey, work }) => ({
        localKey,
        command: work.case === "command" ? work.value.command : "",
        request: payloadOf(work.value?.request).value(),
      })),
    };
  }
}
