import { create } from "@bufbuild/protobuf";
import type { Client as RpcClient } from "@connectrpc/connect";
import { durationOfMs, msOfDuration } from "./duration.js";
import { Cancelled, HaulierError, toHaulierError } from "./errors.js";
import type { LeasedJob } from "./gen/haulier/v1/lease_pb.js";
import { CancelKind, type Directive, HeartbeatSchema, ReportErrorCode } from "./gen/haulier/v1/report_pb.js";
import type {
  RegisterWorkerResponse,
  ReportJobsRequest,
  ReportJobsResponse,
  WorkerService,
} from "./gen/haulier/v1/worker_service_pb.js";
import { CLAIM_JOBS_MAX, CLAIM_MARGIN_MS, CLAIM_WAIT_MS, FENCE_SHARE, RECONNECT_DELAY_MS } from "./limits.js";
import type { Logger } from "./log.js";
import { emptyReport, type LeaseReports, type ReportQueue, saysNothing } from "./report.js";
import { backoffMs, retryDelayMs, sleep } from "./retry.js";

/** A lease that this worker process holds. */
export interface Held {
  readonly leased: LeasedJob;
  readonly reports: LeaseReports;
  /** When its claim's answer arrived. */
  readonly receivedAt: number;
}

/** What a session needs of its worker. */
export interface SessionHost {
  /** How many jobs may be claimed now. */
  freeSlots(): number;
  /** Resolves when `freeSlots` may have grown. */
  slotsChanged(signal: AbortSignal): Promise<void>;
  /** Jobs arrived and their receipt is on its way: run them. */
  start(held: Held): void;
  /** A handler is to stop. */
  stop(held: Held, reason: Cancelled): void;
  /** The lease of a job that is not strict could not be renewed, or could again. */
  markInDoubt(held: Held, inDoubt: boolean): void;
  /** The worker process is to drain. */
  drain(reason: string, graceMs: number): void;
  readonly queue: ReportQueue;
  readonly logger: Logger;
}

/**
 * One registered session of a worker process: its claim loop, its report stream, its heartbeats. It ends when the server says
 * that it is over; the worker then registers anew.
 *
 * The sequence of claims follows protocol.md: raised after every answer, repeated when none came, but not repeated once a
 * heartbeat has told the server that no answer will be taken any more, since the server may then have given the jobs back.
 */
export class Session {
  readonly id: string;
  readonly #rpc: RpcClient<typeof WorkerService>;
  readonly #host: SessionHost;
  readonly #leaseTimeMs: number;
  readonly #heartbeatMs: number;
  readonly #maxWaitMs: number;
  readonly #creditBytes: number;
  readonly #held = new Map<string, Held>();
  readonly #over = new AbortController();
  readonly #claims = new AbortController();

  #sequence = 0n;
  #answered = true;
  #claimOpen = false;
  #received = 0n;
  #acknowledged = 0n;
  /** Highest sequence that a heartbeat has reported as sent and never to be answered. */
  #reportedClosed = 0n;

  #beat = 0n;
  #beatDue = false;
  #heartbeatAt = performance.now();
  readonly #beatsSentAt = new Map<bigint, number>();
  #leaseUntil: number;
  #fenceTimer: NodeJS.Timeout | undefined;
  #inDoubt = false;

  #receivedToTell = false;
  #receivedTold = 0n;
  #toldWaiters: { readonly sequence: bigint; readonly resolve: () => void }[] = [];
  #wakeUp: (() => void) | undefined;
  #stream: AbortController | undefined;
  /** Jobs that arrived and wait for their receipt to be told. */
  #starting = 0;

  constructor(
    rpc: RpcClient<typeof WorkerService>,
    registration: RegisterWorkerResponse,
    registeredAt: number,
    host: SessionHost,
  ) {
    this.#rpc = rpc;
    this.#host = host;
    this.id = registration.sessionId;
    this.#leaseTimeMs = registration.leaseTime === undefined ? 30_000 : msOfDuration(registration.leaseTime);
    this.#heartbeatMs =
      registration.heartbeatInterval === undefined
        ? this.#leaseTimeMs / 3
        : msOfDuration(registration.heartbeatInterval);
    this.#maxWaitMs = registration.maxWait === undefined ? CLAIM_WAIT_MS : msOfDuration(registration.maxWait);
    this.#creditBytes = Number(registration.logCreditBytes);
    this.#leaseUntil = registeredAt + this.#leaseTimeMs;
  }

  /** Works until the session is over or closed. */
  async run(): Promise<void> {
    this.#heartbeatAt = performance.now();
    const heartbeats = setInterval(() => this.#heartbeat(), this.#heartbeatMs);
    this.#armFence();
    try {
      await Promise.all([this.#reportLoop(), this.#claimLoop()]);
    } finally {
      clearInterval(heartbeats);
      clearTimeout(this.#fenceTimer);
    }
  }

  /** Claims nothing more. */
  stopClaiming(): void {
    this.#claims.abort(new Cancelled("draining", "drain"));
    this.#heartbeat(); // tells that the open claim is closed, so that what it may have leased goes back at once
  }

  /** Ends the session on this side: nothing more is sent. */
  close(): void {
    this.#over.abort(new Cancelled("the session is closed", "drain"));
    this.#claims.abort(this.#over.signal.reason);
    this.#stream?.abort();
    this.wake();
    for (const waiter of this.#toldWaiters.splice(0)) waiter.resolve();
  }

  get isOver(): boolean {
    return this.#over.signal.aborted;
  }

  /** There is something to report. */
  wake(): void {
    this.#wakeUp?.();
  }

  /** A lease is held no more. */
  release(lease: string): void {
    this.#held.delete(lease);
  }

  // Claims

  async #claimLoop(): Promise<void> {
    const { signal } = this.#claims;
    let failures = 0;
    while (!signal.aborted) {
      try {
        const free = Math.min(this.#host.freeSlots() - this.#starting, CLAIM_JOBS_MAX);
        if (free <= 0) {
          await this.#host.slotsChanged(signal);
          await nextTurn(); // handlers that end in one turn make room together
          continue;
        }
        await this.#claim(free, signal);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        const typed = toHaulierError(error, "claim jobs");
        if (!(typed instanceof HaulierError)) throw typed;
        if (typed.reason === "SESSION_LOST" || typed.reason === "STALE_SEQUENCE") return this.#lose(typed.message);
        if (failures === 0) this.#host.logger.warn(`${typed.message}; trying again`);
        await sleep(retryDelayMs(typed, failures++, RECONNECT_DELAY_MS), signal).catch(() => {});
      }
    }
  }

  async #claim(maxJobs: number, signal: AbortSignal): Promise<void> {
    if (this.#answered || this.#reportedClosed >= this.#sequence) this.#sequence += 1n;
    const sequence = this.#sequence;
    this.#answered = false;
    this.#claimOpen = true;
    const waitMs = Math.floor(Math.min(this.#maxWaitMs, CLAIM_WAIT_MS) * (0.8 + Math.random() / 5));
    try {
      const answer = await this.#rpc.claimJob(
        {
          sessionId: this.id,
          loop: 0,
          sequence,
          ackSequence: this.#acknowledged,
          maxJobs,
          wait: durationOfMs(waitMs),
        },
        { signal, timeoutMs: waitMs + CLAIM_MARGIN_MS },
      );
      this.#answered = true;
      this.#received = sequence;
      if (answer.jobs.length > 0) this.#arrived(sequence, answer.jobs);
    } finally {
      this.#claimOpen = false;
    }
  }

  /** Jobs arrived: they are in the inventory from this moment on, their receipt is told, then they start. */
  #arrived(sequence: bigint, jobs: readonly LeasedJob[]): void {
    this.#acknowledged = sequence;
    const receivedAt = performance.now();
    const arrived: Held[] = [];
    for (const leased of jobs) {
      if (this.#held.has(leased.lease)) continue; // a repeat of an answer
      const held = { leased, reports: this.#host.queue.add(leased), receivedAt };
      this.#held.set(leased.lease, held);
      arrived.push(held);
    }
    this.#receivedToTell = true;
    this.#starting += arrived.length;
    this.wake();
    void this.#told(sequence).then(() => {
      this.#starting -= arrived.length;
      for (const held of arrived) {
        if (!this.isOver && !held.reports.gone) this.#host.start(held);
      }
    });
  }

  /** Resolves when the receipt of an answer has been handed to an open stream, or the session is over. */
  #told(sequence: bigint): Promise<void> {
    if (this.#receivedTold >= sequence || this.isOver) return Promise.resolve();
    return new Promise((resolve) => this.#toldWaiters.push({ sequence, resolve }));
  }

  // Reports

  async #reportLoop(): Promise<void> {
    const { signal } = this.#over;
    for (let failures = 0; !signal.aborted; ) {
      const openedAt = performance.now();
      const stream = new AbortController();
      this.#stream = stream;
      try {
        this.#restart();
        const responses = this.#rpc.reportJobs(this.#messages(stream.signal), { signal: stream.signal });
        for await (const response of responses) {
          if (signal.aborted) return;
          this.#take(response);
        }
        if (!signal.aborted) this.#host.logger.debug("the server ended the report stream; opening another");
      } catch (error) {
        if (signal.aborted) return;
        const typed = toHaulierError(error, "report jobs");
        if (!(typed instanceof HaulierError)) throw typed;
        if (typed.reason === "SESSION_LOST") return this.#lose(typed.message);
        if (failures === 0) this.#host.logger.warn(`${typed.message}; opening another stream`);
      } finally {
        stream.abort();
        this.#wakeUp?.();
      }
      if (performance.now() - openedAt > 5_000) failures = 0;
      await sleep(backoffMs(failures++, RECONNECT_DELAY_MS), signal).catch(() => {});
    }
  }

  /** Every stream begins with a heartbeat and with all that is not acknowledged. */
  #restart(): void {
    this.#host.queue.restart(this.#creditBytes);
    this.#beatsSentAt.clear();
    this.#beatDue = true;
    this.#receivedToTell = this.#received > 0n;
  }

  async *#messages(signal: AbortSignal): AsyncGenerator<ReportJobsRequest, void, undefined> {
    let isFirst = true;
    while (!signal.aborted) {
      const received = this.#received;
      const message = this.#compose();
      if (message === undefined) {
        await this.#woken(signal);
        await nextTurn(); // what ends in the same turn travels in the same message
        continue;
      }
      if (isFirst) message.sessionId = this.id;
      isFirst = false;
      yield message;
      if (signal.aborted) return;
      this.#receivedTold = received;
      this.#toldWaiters = this.#toldWaiters.filter((waiter) => {
        if (waiter.sequence > received) return true;
        waiter.resolve();
        return false;
      });
    }
  }

  #woken(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener("abort", wake);
        if (this.#wakeUp === wake) this.#wakeUp = undefined;
        resolve();
      };
      this.#wakeUp = wake;
      signal.addEventListener("abort", wake, { once: true });
    });
  }

  #compose(): ReportJobsRequest | undefined {
    const message = emptyReport();
    if (this.#receivedToTell) {
      message.received.push({ $typeName: "haulier.v1.ReceivedReport", loop: 0, sequence: this.#received });
      this.#receivedToTell = false;
    }
    this.#host.queue.fill(message);
    if (this.#beatDue) {
      this.#beatDue = false;
      const sentOpen = this.#claimOpen;
      if (!sentOpen && !this.#answered) this.#reportedClosed = this.#sequence;
      this.#beat += 1n;
      this.#beatsSentAt.set(this.#beat, performance.now());
      message.heartbeat = create(HeartbeatSchema, {
        beat: this.#beat,
        loops: this.#sequence === 0n ? [] : [{ loop: 0, received: this.#received, sent: this.#sequence, sentOpen }],
        leases: [...this.#held.keys()],
      });
    }
    return saysNothing(message) ? undefined : message;
  }

  #take(response: ReportJobsResponse): void {
    const { queue, logger } = this.#host;
    if (response.heartbeat !== undefined) {
      const { beat, leaseTime } = response.heartbeat;
      this.#renewed(beat, leaseTime === undefined ? this.#leaseTimeMs : msOfDuration(leaseTime));
    }
    for (const ack of response.acks) {
      if (ack.error !== undefined && ack.error.code !== ReportErrorCode.LEASE_LOST) {
        logger.warn(`a report was refused: ${ack.error.field} ${ack.error.message}`);
      }
      const fate = queue.take(ack);
      if (fate === "open") continue;
      if (fate === "lost") this.#leaseLost(ack.lease, ack.error?.message ?? "the lease was lost");
      else this.#held.delete(ack.lease);
    }
    queue.grant(Number(response.logCreditBytes));
    for (const directive of response.directives) this.#obey(directive);
    for (const error of response.errors) {
      if (error.code === ReportErrorCode.SESSION_LOST) return this.#lose(error.message || "the session is over");
      logger.warn(`the server refused a report: ${error.field} ${error.message}`);
      if (error.code !== ReportErrorCode.INVALID) queue.sendAllAgain(500 + Math.random() * 500);
    }
  }

  #obey(directive: Directive): void {
    const { kind } = directive;
    switch (kind.case) {
      case "leaseLost":
        return this.#leaseLost(kind.value.lease, kind.value.reason);
      case "cancel": {
        const held = this.#held.get(kind.value.lease);
        if (held === undefined) return;
        const graceMs = kind.value.grace === undefined ? 0 : msOfDuration(kind.value.grace);
        const isTimeout = kind.value.kind === CancelKind.TIMEOUT;
        const reason = kind.value.reason || (isTimeout ? "its timeout is over" : "cancelled");
        return this.#host.stop(held, new Cancelled(reason, isTimeout ? "timeout" : "cancel", graceMs));
      }
      case "drain": {
        const { reason, grace } = kind.value;
        return this.#host.drain(reason || "told to drain", grace === undefined ? 0 : msOfDuration(grace));
      }
    }
  }

  #leaseLost(lease: string, why: string): void {
    const held = this.#held.get(lease);
    if (held === undefined) return;
    this.#held.delete(lease);
    this.#host.queue.forget(held.reports);
    this.#host.stop(held, new Cancelled(`the lease was lost: ${why}`, "lease_lost"));
  }

  /** The session is over: outcomes that are known stay in the queue for the next one, the rest is dropped. */
  #lose(why: string): void {
    if (this.isOver) return;
    this.#host.logger.warn(`${why}; registering anew`);
    for (const [lease, held] of [...this.#held]) {
      if (held.reports.outcome === undefined) this.#leaseLost(lease, "the session is over");
    }
    this.#held.clear();
    this.close();
  }

  // Heartbeats

  #heartbeat(): void {
    const now = performance.now();
    // A handler that held up this thread has held up the answers too: they are read after this.
    const isLate = now - this.#heartbeatAt > 1.4 * this.#heartbeatMs;
    this.#heartbeatAt = now;
    const oldest = this.#beatsSentAt.values().next().value;
    if (!isLate && oldest !== undefined && now - oldest > 1.5 * this.#heartbeatMs) {
      // A stream that takes heartbeats and answers none is worth nothing, however open it looks.
      this.#host.logger.warn("heartbeats are not answered; opening another stream");
      this.#beatsSentAt.clear();
      this.#stream?.abort();
      return;
    }
    this.#beatDue = true;
    this.wake();
  }

  #renewed(beat: bigint, leaseTimeMs: number): void {
    const sentAt = this.#beatsSentAt.get(beat);
    for (const earlier of [...this.#beatsSentAt.keys()]) {
      if (earlier <= beat) this.#beatsSentAt.delete(earlier);
    }
    if (sentAt === undefined) return;
    this.#leaseUntil = Math.max(this.#leaseUntil, sentAt + leaseTimeMs);
    if (this.#inDoubt) {
      this.#inDoubt = false;
      for (const held of this.#held.values()) this.#host.markInDoubt(held, false);
    }
    this.#armFence();
  }

  #armFence(): void {
    clearTimeout(this.#fenceTimer);
    const ms = this.#leaseUntil - (1 - FENCE_SHARE) * this.#leaseTimeMs - performance.now();
    this.#fenceTimer = setTimeout(() => this.#fence(), Math.max(0, ms));
  }

  /** No heartbeat was acknowledged in time: what must not run twice stops by itself. */
  #fence(): void {
    if (this.isOver) return;
    if (!this.#inDoubt && this.#held.size > 0) {
      this.#host.logger.warn("no heartbeat was acknowledged for 80 % of the lease time: leases are in doubt");
    }
    this.#inDoubt = true;
    for (const held of this.#held.values()) {
      if (held.reports.outcome !== undefined) continue;
      this.#host.markInDoubt(held, true);
      if (held.leased.strict) {
        this.#host.stop(held, new Cancelled("the lease could not be renewed in time", "in_doubt"));
      }
    }
    this.#fenceTimer = setTimeout(() => this.#fence(), this.#heartbeatMs); // for jobs that arrive meanwhile
  }
}

/** Resolves after everything that is ready now has run. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
