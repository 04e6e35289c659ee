import type { Client } from "./client.js";
import { checkName } from "./command.js";
import { type Duration, durationMs } from "./duration.js";
import { HaulierError, invalidField } from "./errors.js";
import { RESTART_DELAY_MS } from "./limits.js";
import type { Lock } from "./lock.js";
import { type Logger, stderrLogger } from "./log.js";
import { backoffMs, sleep } from "./retry.js";

/** What one run of a periodic or background worker is given; fresh for each run. */
export interface RunContext {
  /** Name of the periodic worker. */
  readonly name: string;
  /** Number of this run in this program, from 1. */
  readonly run: number;
  /** Aborted when the run is to stop: at shutdown, or when a singleton has lost its lock. */
  readonly signal: AbortSignal;
  /** A client, to enqueue and the like. */
  readonly client: Client;
  /** Fencing token of the lock of a singleton, for fencing your own stores; undefined without one. */
  readonly fencingToken: number | undefined;
}

/** Options of periodic and background workers. */
export interface BackgroundOptions {
  /** Run on one program of the whole cluster only, the one that holds the lock of this name; true: its own name. @default false */
  readonly singleton?: boolean | string;
  /** Lease time of that lock. @default "30s" */
  readonly leaseTime?: Duration;
}

/** Options of a periodic worker. */
export interface PeriodicOptions extends BackgroundOptions {
  /** Time from the end of a run to the beginning of the next. */
  readonly period: Duration;
  /** Run at once when it is started, rather than after one period. @default false */
  readonly runAtStart?: boolean;
}

/** Where a run takes place. */
type Where = Pick<RunContext, "signal" | "fencingToken">;

type Run = (context: RunContext) => unknown;

/** A periodic or background worker of this program. It is not stored anywhere: another program has its own. */
export class PeriodicWorker {
  readonly #work: (context: Where) => Promise<void>;
  readonly #options: BackgroundOptions;
  #client: Client | undefined;
  #runs = 0;
  #ends = 0;
  #lastError: unknown;
  #logger: Logger | undefined;
  #stop: AbortController | undefined;
  #ended: Promise<void> = Promise.resolve();

  private constructor(
    readonly name: string,
    options: BackgroundOptions,
    work: (worker: PeriodicWorker, context: Where) => Promise<void>,
  ) {
    checkName(name, "name");
    if (typeof options.singleton === "string") checkName(options.singleton, "singleton");
    this.#options = options;
    this.#work = (context) => work(this, context);
  }

  /** Runs again and again, one period after the end of the run before. An error is logged and ends that run only. */
  static periodic(name: string, options: PeriodicOptions, run: Run): PeriodicWorker {
    const periodMs = durationMs(options.period, "period");
    if (periodMs <= 0) throw invalidField("period", "must be longer than 0");
    return new PeriodicWorker(name, options, async (worker, context) => {
      for (let isFirst = true; !context.signal.aborted; isFirst = false) {
        if (!(isFirst && options.runAtStart)) await sleep(periodMs, context.signal);
        await worker.#runOnce(run, context);
      }
    });
  }

  /** A loop of its own that runs until its signal is aborted. Started again, with growing waits, when it throws. */
  static background(name: string, options: BackgroundOptions, run: Run): PeriodicWorker {
    return new PeriodicWorker(name, options, async (worker, context) => {
      for (let failures = 0; !context.signal.aborted; ) {
        const startedAt = performance.now();
        if (await worker.#runOnce(run, context)) return; // it returned: it is done
        if (performance.now() - startedAt > RESTART_DELAY_MS.max) failures = 0;
        await sleep(backoffMs(failures++, RESTART_DELAY_MS), context.signal);
      }
    });
  }

  /** How many runs have ended, well or not. */
  get runCount(): number {
    return this.#ends;
  }

  /** What the last run that ended threw; undefined: it ended well, or none has ended. */
  get lastError(): unknown {
    return this.#lastError;
  }

  /** Whether it is on. */
  get isRunning(): boolean {
    return this.#stop !== undefined;
  }

  /** Starts it in a program without a worker, until {@link stop}; does nothing while it is on. */
  startWith(client: Client, logger: Logger = stderrLogger): void {
    this.#client = client;
    this.#logger = logger;
    this.start();
  }

  /** Switches it on again after {@link stop}. */
  start(): void {
    if (this.#stop !== undefined || this.#client === undefined) return;
    const stop = new AbortController();
    this.#stop = stop;
    // One that was stopped and has not ended yet comes first, so that no two runs overlap.
    this.#ended = this.#ended
      .then(() => this.#loop(stop.signal))
      .finally(() => {
        if (this.#stop === stop) this.#stop = undefined;
      });
  }

  /** Tells the run to stop and waits for its end. */
  async stop(): Promise<void> {
    this.#stop?.abort(new DOMException("the periodic worker is stopped", "AbortError"));
    this.#stop = undefined;
    await this.#ended;
  }

  async #loop(signal: AbortSignal): Promise<void> {
    const { singleton } = this.#options;
    for (let failures = 0; !signal.aborted; ) {
      try {
        if (!singleton) return await this.#work({ signal, fencingToken: undefined });
        const lock = await this.#lock(signal);
        failures = 0;
        if (lock === undefined) continue;
        try {
          await this.#work({ signal: AbortSignal.any([signal, lock.signal]), fencingToken: lock.fencingToken });
        } finally {
          await lock.release().catch(() => {}); // else its lease time ends it
        }
        return;
      } catch (error) {
        if (signal.aborted) return;
        const isLost = error instanceof HaulierError && error.reason === "LOCK_LOST";
        this.#logger?.warn(`${this.name}: ${isLost ? "lost its lock" : message(error)}; trying again`);
        await sleep(backoffMs(failures++, RESTART_DELAY_MS), signal).catch(() => {});
      }
    }
  }

  #lock(signal: AbortSignal): Promise<Lock | undefined> | undefined {
    const { leaseTime, singleton } = this.#options;
    return this.#client?.lock(typeof singleton === "string" ? singleton : this.name, {
      wait: "forever",
      owner: this.name,
      signal,
      ...(leaseTime !== undefined && { leaseTime }),
    });
  }

  /** Whether the run ended without an error. */
  async #runOnce(run: Run, context: Where): Promise<boolean> {
    if (this.#client === undefined) return true;
    try {
      await run({ ...context, name: this.name, run: ++this.#runs, client: this.#client });
      this.#lastError = undefined;
      return true;
    } catch (error) {
      this.#lastError = error;
      if (!context.signal.aborted) this.#logger?.error(`${this.name}: a run failed: ${message(error)}`);
      return false;
    } finally {
      this.#ends++;
      if (context.signal.aborted) context.signal.throwIfAborted();
    }
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
