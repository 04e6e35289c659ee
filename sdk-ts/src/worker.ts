import { hostname } from "node:os";
import { createClient, type Client as RpcClient } from "@connectrpc/connect";
import * as check from "./check.js";
import { Client, freshId } from "./client.js";
import { type Command, checkName, defineCommand, type Handler, type ServedCommand } from "./command.js";
import { type Duration, durationMs, durationOfMs, msOfDuration } from "./duration.js";
import { Cancelled, HaulierError, invalidField, toHaulierError } from "./errors.js";
import { WorkerService } from "./gen/haulier/v1/worker_service_pb.js";
import { Job } from "./job.js";
import {
  ABANDON_GRACE_MS,
  DRAIN_STOP_MS,
  DRAIN_TIME_MS,
  FLUSH_TIME_MS,
  OUTCOMES_UNACKNOWLEDGED_MAX,
  RECONNECT_DELAY_MS,
  TIMEOUT_GRACE_MS,
} from "./limits.js";
import { type Logger, stderrLogger } from "./log.js";
import { createTransport, type NodeConnectOptions } from "./node.js";
import { type Outcome, outcomeOfError, outcomeOfStop, runHandler, timedOut } from "./outcome.js";
import { type BackgroundOptions, type PeriodicOptions, PeriodicWorker, type RunContext } from "./periodic.js";
import { type RecurringTaskDefinition, taskMessage } from "./recurring.js";
import { ReportQueue } from "./report.js";
import { retryDelayMs, sleep } from "./retry.js";
import { type Held, Session, type SessionHost } from "./session.js";
import { SDK } from "./version.js";

/** Options of a {@link Worker}. */
export interface WorkerOptions extends NodeConnectOptions {
  /** Commands with their handlers. More can be added with `handle` before `run`. @default none */
  readonly commands?: readonly ServedCommand[];
  /** Handlers by command name. @default none */
  readonly handlers?: Readonly<Record<string, Handler>>;
  /** Recurring tasks that are put each time the worker starts. More can be added with `recurring` before `run`. @default none */
  readonly recurringTasks?: readonly RecurringTaskDefinition[];
  /** How many jobs run at once. @default 10 */
  readonly slots?: number;
  /** Queues it serves. @default ["default"] */
  readonly queues?: readonly string[];
  /** Name of the worker process, for people. @default the host name */
  readonly name?: string;
  /** Labels, for people. @default none */
  readonly labels?: Readonly<Record<string, string>>;
  /** How long it may be silent before its jobs are taken back, 5 s to 10 min. @default "30s" */
  readonly leaseTime?: Duration;
  /**
   * How long jobs may still take when it stops. Then handlers are told to stop, and what has not ended 5 s later is given
   * back without having spent the attempt. @default "30s"
   */
  readonly drainTime?: Duration;
  /** Drain on SIGTERM and SIGINT, and abort on a second one. @default true */
  readonly handleSignals?: boolean;
  /** Where the worker itself logs. @default stderr */
  readonly logger?: Logger;
}

/** A handler that runs. */
interface Running {
  readonly held: Held;
  readonly job: Job;
  timer: NodeJS.Timeout | undefined;
  /** The outcome is decided: what the handler still does is ignored. */
  ended: boolean;
}

/** Longer timers fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Ways to end that leave nothing to try again. */
const PERMANENT = new Set([
  "INVALID_ARGUMENT",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "UNIMPLEMENTED",
  "ALREADY_EXISTS",
]);

/** Codes that a server or its database gives that cannot be reached. */
const AWAY = new Set(["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"]);

/**
 * A worker process: claims jobs, runs their handlers, reports. It reconnects by itself after any break, registers anew when
 * its session was lost, and drains on SIGTERM.
 *
 * Handlers share one thread: while one computes without awaiting, no other runs and no heartbeat is sent. Leases survive that
 * for the lease time less its last third; move heavier work into a thread (`haulier/thread`).
 *
 * @example
 * ```ts
 * const worker = new Worker({ slots: 4 });
 * worker.handle(resize, async (job, { image, width }) => `${image}@${width}`);
 * await worker.run();
 * ```
 */
export class Worker {
  /** A client over the same connection. */
  readonly client: Client;
  readonly #rpc: RpcClient<typeof WorkerService>;
  readonly #options: WorkerOptions;
  readonly #logger: Logger;
  readonly #slots: number;
  readonly #drainTimeMs: number;
  readonly #commands = new Map<string, ServedCommand>();
  readonly #recurringTasks: RecurringTaskDefinition[] = [];
  readonly #periodics: PeriodicWorker[] = [];
  readonly #queue = new ReportQueue(() => this.#session?.wake());
  readonly #running = new Map<Held, Running>();
  /** Stop signals for jobs that have not started yet. */
  readonly #earlyStops = new WeakMap<Held, Cancelled>();
  readonly #changes = new Set<() => void>();
  readonly #stopping = new AbortController();
  readonly #aborted = new AbortController();
  /** Resolves at the first registration. */
  readonly #registered: Promise<void>;
  #tellRegistered: (run?: Promise<void>) => void = () => {};
  #session: Session | undefined;
  #run: Promise<void> | undefined;
  #drainMs: number;

  constructor(options: WorkerOptions = {}) {
    this.#options = options;
    this.#registered = new Promise((resolve) => {
      this.#tellRegistered = resolve;
    });
    this.#registered.catch(() => {}); // `run` rejects too
    this.#logger = options.logger ?? stderrLogger;
    this.#slots = options.slots ?? 10;
    if (!Number.isInteger(this.#slots) || this.#slots < 1 || this.#slots > 10_000) {
      throw invalidField("slots", `${String(options.slots)} is no whole number from 1 to 10,000`);
    }
    this.#drainTimeMs = options.drainTime === undefined ? DRAIN_TIME_MS : durationMs(options.drainTime, "drainTime");
    this.#drainMs = this.#drainTimeMs;
    if (options.leaseTime !== undefined) durationMs(options.leaseTime, "leaseTime");
    check.optional(options.name, "name", check.text);
    check.optional(options.labels, "labels", check.texts);
    for (const queue of check.list(options.queues ?? [], "queues")) checkName(queue, "queues");
    check.list(options.commands ?? [], "commands");
    check.object(options.handlers ?? {}, "handlers");
    const transport = createTransport(options);
    this.client = new Client(transport, options);
    this.#rpc = createClient(WorkerService, transport);
    for (const command of options.commands ?? []) this.#serve(command);
    for (const [name, handler] of Object.entries(options.handlers ?? {})) this.handle(name, handler);
    for (const task of check.list(options.recurringTasks ?? [], "recurringTasks")) this.recurring(task);
  }

  /** Registers the handler of a command: by its definition, by name, or as a function whose name is the command's. */
  handle<Input, Request, Result>(command: Command<Input, Request, Result>, handler: Handler<Request, Result>): this;
  handle<Request = unknown, Result = unknown>(name: string, handler: Handler<Request, Result>): this;
  handle<Request = unknown, Result = unknown>(handler: Handler<Request, Result>): this;
  handle(command: Command | string | Handler, handler?: Handler): this {
    if (typeof command === "function") return this.#serve(defineCommand({ name: command.name }).handle(command));
    if (typeof handler !== "function") throw invalidField("handler", `${String(handler)} is no function`);
    const defined = typeof command === "string" ? defineCommand({ name: command }) : command;
    return this.#serve(defined.handle(handler));
  }

  /**
   * Declares a recurring task: it is put each time the worker starts, before it takes jobs. Putting it again never fires, resets
   * or unpauses it.
   */
  recurring(task: RecurringTaskDefinition): this {
    taskMessage(task); // what is wrong with it is told here
    if (this.#run !== undefined) throw invalidField("task", "was added after run: add it before");
    this.#recurringTasks.push(task);
    return this;
  }

  /** Runs a function again and again while this worker runs. See {@link PeriodicWorker.periodic}. */
  periodic(name: string, options: PeriodicOptions, run: (context: RunContext) => unknown): PeriodicWorker {
    return this.#addPeriodic(PeriodicWorker.periodic(name, options, run));
  }

  /** Runs a loop of its own while this worker runs. See {@link PeriodicWorker.background}. */
  background(name: string, options: BackgroundOptions, run: (context: RunContext) => unknown): PeriodicWorker {
    return this.#addPeriodic(PeriodicWorker.background(name, options, run));
  }

  /**
   * Runs until it is stopped: by SIGTERM or SIGINT, `stop`, the signal, or an operator's drain. Rejects only when the first
   * registration is refused for good, such as for a wrong key.
   */
  run(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.#run === undefined) {
      const run = this.#runUntilStopped(options.signal);
      this.#run = run;
      const ended = () => this.#tellRegistered(run);
      run.then(ended, ended);
    }
    return this.#run;
  }

  /** Resolves when the worker is registered, and so takes jobs, or when `run` has ended; rejects when that does. */
  registered(): Promise<void> {
    return this.#registered;
  }

  /** Drains and ends: jobs may still take `grace`. Resolves when `run` has ended. */
  async stop(options: { /** @default `drainTime` */ readonly grace?: Duration } = {}): Promise<void> {
    const graceMs = options.grace === undefined ? this.#drainTimeMs : durationMs(options.grace, "grace");
    this.#stop("stopped by the program", graceMs);
    await this.#run?.catch(() => {});
  }

  /** How many jobs run. */
  get runningCount(): number {
    return this.#running.size;
  }

  #serve(command: ServedCommand): this {
    checkName(command.name, "command");
    if (typeof command.handler !== "function")
      throw invalidField("commands", `the command ${command.name} has no handler`);
    if (this.#run !== undefined) throw invalidField("command", `${command.name} was added after run: add it before`);
    if (this.#commands.has(command.name)) throw invalidField("command", `${command.name} has a handler already`);
    this.#commands.set(command.name, command);
    return this;
  }

  #addPeriodic(periodic: PeriodicWorker): PeriodicWorker {
    if (this.#periodics.some(({ name }) => name === periodic.name)) {
      throw invalidField("name", `${periodic.name} is a periodic or background worker already`);
    }
    this.#periodics.push(periodic);
    if (this.#run !== undefined && !this.#stopping.signal.aborted && isEnabled("HAULIER_PERIODIC_ENABLED")) {
      periodic.startWith(this.client, this.#logger);
    }
    return periodic;
  }

  async #runUntilStopped(signal: AbortSignal | undefined): Promise<void> {
    const onSignal = (name: NodeJS.Signals) => {
      if (this.#stopping.signal.aborted) this.#abort(`a second signal, ${name}`);
      else this.#stop(name, this.#drainTimeMs);
    };
    const onAbort = () => this.#stop("the signal was aborted", this.#drainTimeMs);
    const signals = this.#options.handleSignals === false ? [] : (["SIGTERM", "SIGINT"] as const);
    for (const name of signals) process.on(name, onSignal);
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
    if (isEnabled("HAULIER_PERIODIC_ENABLED")) {
      for (const periodic of this.#periodics) periodic.startWith(this.client, this.#logger);
    }
    try {
      if (isEnabled("HAULIER_WORKER_ENABLED") && this.#commands.size > 0) await this.#work();
      else await this.#stopped();
    } finally {
      this.#stopping.abort();
      await Promise.all(this.#periodics.map((periodic) => periodic.stop()));
      for (const name of signals) process.off(name, onSignal);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Registers, works until the session is over, and again. */
  async #work(): Promise<void> {
    await this.#putRecurringTasks();
    for (let isFirst = true; !this.#stopping.signal.aborted; isFirst = false) {
      const session = await this.#register(isFirst);
      if (session === undefined) break;
      this.#session = session;
      const work = session.run();
      const drained = this.#stopped().then(() => this.#drain(session));
      await Promise.race([work, drained]);
      if (!this.#stopping.signal.aborted) {
        await work;
        continue;
      }
      await drained;
      await work;
    }
  }

  /** Puts the recurring tasks, however long the server is away. */
  async #putRecurringTasks(): Promise<void> {
    const { signal } = this.#stopping;
    for (const task of this.#recurringTasks) {
      for (let failures = 0; !signal.aborted; ) {
        try {
          const put = await this.client.putRecurringTask(task, { signal });
          this.#logger.debug(`recurring task ${put.task.name}: ${put.result}`);
          break;
        } catch (error) {
          if (signal.aborted) return;
          const isAway = error instanceof HaulierError && AWAY.has(error.code);
          if (!isAway) throw error;
          this.#logger.warn(`${error.message}; trying again`);
          await sleep(retryDelayMs(error, failures++, RECONNECT_DELAY_MS), signal).catch(() => {});
        }
      }
    }
  }

  async #register(isFirst: boolean): Promise<Session | undefined> {
    const { signal } = this.#stopping;
    // One id over all tries of one registration: should an answer be lost, the next try ends the session that it began.
    const instanceId = freshId();
    for (let failures = 0; ; ) {
      const sentAt = performance.now();
      try {
        const registration = await this.#rpc.registerWorker(this.#registration(instanceId), {
          signal,
          timeoutMs: 10_000,
        });
        this.#tellRegistered();
        const served = [...this.#commands.keys()].join(", ");
        this.#logger.info(`worker registered, session ${registration.sessionId.slice(0, 8)}, serves ${served}`);
        return new Session(this.#rpc, registration, sentAt, this.#host());
      } catch (error) {
        if (signal.aborted) return undefined;
        const typed = toHaulierError(error, "register worker");
        if (!(typed instanceof HaulierError) || (isFirst && PERMANENT.has(typed.code))) throw typed;
        if (failures % 30 === 0) this.#logger.warn(`${typed.message}; trying again`);
        await sleep(retryDelayMs(typed, failures++, RECONNECT_DELAY_MS), signal).catch(() => {});
      }
    }
  }

  #registration(instanceId: string) {
    const { name, queues, labels, leaseTime } = this.#options;
    return {
      name: name ?? hostname(),
      instanceId,
      commands: [...this.#commands.values()].map((command) => ({
        command: command.name,
        worker: command.worker,
        version: command.version ?? "",
        jsonSchema: command.jsonSchema ?? "",
      })),
      queues: [...(queues ?? [])],
      labels: { ...labels },
      slots: this.#slots,
      leaseTime: leaseTime === undefined ? undefined : durationOfMs(durationMs(leaseTime, "leaseTime")),
      sdk: SDK,
    };
  }

  #host(): SessionHost {
    return {
      queue: this.#queue,
      logger: this.#logger,
      freeSlots: () =>
        Math.min(this.#slots - this.#running.size, OUTCOMES_UNACKNOWLEDGED_MAX - this.#queue.unacknowledged),
      slotsChanged: (signal) => this.#changed(signal),
      start: (held) => this.#start(held),
      stop: (held, reason) => this.#stopJob(held, reason),
      markInDoubt: (held, inDoubt) => this.#running.get(held)?.job.markInDoubt(inDoubt),
      drain: (reason, graceMs) => this.#stop(reason, graceMs || this.#drainTimeMs),
    };
  }

  // Jobs

  #start(held: Held): void {
    const { leased, reports } = held;
    const queue = this.#queue;
    const name = leased.work.case === "command" ? leased.work.value : "";
    const command = this.#commands.get(name);
    if (command === undefined) {
      return queue.end(reports, {
        kind: "release",
        reason: `this worker process does not serve ${name || "API jobs"}`,
      });
    }
    let job: Job;
    try {
      job = new Job(leased, {
        log: (record) => queue.log(reports, record),
        progress: (fraction, status) => queue.progress(reports, fraction, status),
        checkpoint: (payload) => queue.checkpoint(reports, payload),
        client: this.client,
      });
    } catch (error) {
      return queue.end(reports, outcomeOfError(error, undefined));
    }
    const running: Running = { held, job, timer: undefined, ended: false };
    this.#running.set(held, running);
    const early = this.#earlyStops.get(held);
    if (early !== undefined) {
      this.#end(running, outcomeOfStop(early)); // told to stop before it began
      return;
    }
    if (leased.timeout !== undefined) this.#limit(running, msOfDuration(leased.timeout));
    void runHandler(command, job).then((outcome) => this.#end(running, outcome));
  }

  /** Stops the handler when its time is over, and gives up on it after the grace. */
  #limit(running: Running, timeoutMs: number): void {
    const { held } = running;
    const after = (ms: number, act: () => void) => {
      running.timer = setTimeout(act, Math.min(ms, TIMER_MS_MAX));
    };
    after(Math.max(0, timeoutMs - (performance.now() - held.receivedAt)), () => {
      const why = `it ran over its timeout of ${Math.round(timeoutMs)} ms`;
      after(TIMEOUT_GRACE_MS, () => {
        this.#logger.warn(`${name(running)} did not stop after its timeout; its slot is given to others`);
        this.#end(running, timedOut(`${why} and did not stop`));
      });
      this.#stopJob(held, new Cancelled(why, "timeout", TIMEOUT_GRACE_MS));
    });
  }

  #stopJob(held: Held, reason: Cancelled): void {
    const running = this.#running.get(held);
    if (running === undefined) {
      this.#earlyStops.set(held, reason);
      return;
    }
    if (reason.kind === "lease_lost") {
      clearTimeout(running.timer); // whatever comes of its timeout, nobody takes it any more
      running.timer = setTimeout(() => {
        this.#logger.warn(`${name(running)} did not stop after its lease was lost; its slot is given to others`);
        this.#end(running, { kind: "dropped" });
      }, ABANDON_GRACE_MS);
    }
    running.job.stop(reason);
  }

  #end(running: Running, outcome: Outcome): void {
    if (running.ended) return;
    running.ended = true;
    clearTimeout(running.timer);
    if (outcome.kind === "fail" && !running.held.reports.gone) {
      this.#logger.warn(`${name(running)} failed: ${outcome.code}: ${outcome.message}`);
    }
    this.#queue.end(running.held.reports, outcome);
    this.#running.delete(running.held);
    this.#tellChange();
  }

  #tellChange(): void {
    for (const tell of [...this.#changes]) tell();
  }

  /** Resolves when a job has ended. */
  #changed(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#changes.delete(done);
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, 1_000); // acknowledgements make room too
      this.#changes.add(done);
      signal?.addEventListener("abort", done, { once: true });
    });
  }

  // The end

  #stop(why: string, graceMs: number): void {
    if (this.#stopping.signal.aborted) return;
    this.#logger.info(`worker stops: ${why}`);
    this.#drainMs = graceMs;
    this.#stopping.abort(new Cancelled(why, "drain", graceMs));
  }

  #abort(why: string): void {
    this.#logger.warn(`worker aborts: ${why}`);
    this.#aborted.abort();
    this.#tellChange();
  }

  #stopped(): Promise<void> {
    const { signal } = this.#stopping;
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  }

  /** Resolves when no job runs any more, or after so long, or at once when the worker is aborted. */
  async #idle(session: Session, ms: number): Promise<void> {
    const until = performance.now() + ms;
    for (;;) {
      const left = until - performance.now();
      if (this.#running.size === 0 || left <= 0 || session.isOver || this.#aborted.signal.aborted) return;
      const nap = new AbortController();
      const wait = sleep(Math.max(1, left), nap.signal).catch(() => {});
      await Promise.race([this.#changed(nap.signal), wait]);
      nap.abort();
    }
  }

  /** Lets jobs end, then stops them, then gives them back; and ends the session. */
  async #drain(session: Session): Promise<void> {
    if (session.isOver) return;
    const why = this.#stopping.signal.reason instanceof Cancelled ? this.#stopping.signal.reason.message : "stopped";
    session.stopClaiming();
    await this.#idle(session, this.#drainMs);
    const stopMs = Math.min(DRAIN_STOP_MS, this.#drainMs);
    for (const { held } of [...this.#running.values()]) this.#stopJob(held, new Cancelled(why, "drain", stopMs));
    await this.#idle(session, stopMs);
    for (const running of [...this.#running.values()]) {
      this.#logger.warn(`${name(running)} did not stop; it is given back`);
      this.#end(running, { kind: "release", reason: why });
    }
    const flushUntil = performance.now() + (this.#aborted.signal.aborted ? 500 : FLUSH_TIME_MS);
    while (!this.#queue.isEmpty && performance.now() < flushUntil && !session.isOver) await sleep(5);
    session.close();
    const unregister = this.#rpc.unregisterWorker({ sessionId: session.id, reason: why }, { timeoutMs: 2_000 });
    await unregister.catch((error: unknown) => {
      this.#logger.debug(`unregister worker: ${String(error)}`); // the reaper does it
    });
  }
}

function name({ job }: Running): string {
  return `job ${job.transient ? job.refId : job.id} (${job.command}, attempt ${job.attempt})`;
}

/** Whether a switch in the environment is on, which it is unless it says otherwise. */
function isEnabled(variable: string): boolean {
  return !/^(false|0|no|off)$/i.test(process.env[variable] ?? "");
}
