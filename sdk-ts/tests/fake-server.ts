import { createServer, type Http2Server } from "node:http2";
import type { Socket } from "node:net";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { JobState } from "../src/gen/haulier/v1/job_pb.js";
import { JobService } from "../src/gen/haulier/v1/job_service_pb.js";
import { type LeasedJob, LeasedJobSchema } from "../src/gen/haulier/v1/lease_pb.js";
import {
  type DirectiveSchema,
  LogReportSchema,
  type OutcomeReport,
  type ReportAckSchema,
  ReportErrorCode,
} from "../src/gen/haulier/v1/report_pb.js";
import {
  type ReportJobsRequest,
  type ReportJobsResponse,
  ReportJobsResponseSchema,
  WorkerService,
} from "../src/gen/haulier/v1/worker_service_pb.js";

/** What a test sets on a leased job. */
export interface LeasedFields {
  readonly strict?: boolean;
  readonly timeout?: { readonly seconds: bigint; readonly nanos: number };
}

/** A job of the fake server. */
export interface FakeServerJob {
  readonly id: bigint;
  readonly request: string;
  readonly fields: LeasedFields;
  state: "ready" | "leased" | "ended";
  epoch: number;
  lease: string;
  session: string;
  sequence: bigint;
  logs: string[];
  outcomes: OutcomeReport[];
  checkpoint: string | undefined;
  gaveBack: number;
}

interface FakeSession {
  readonly id: string;
  stored: bigint;
  /** Highest sequence that a heartbeat called closed. */
  closed: bigint;
  beat: bigint;
  lost: boolean;
  push: ((response: MessageInitShape<typeof ReportJobsResponseSchema>) => void) | undefined;
}

/** What a hook may do at a point of the protocol. */
export type Cut = "pass" | "cut";

/**
 * A server in this process that keeps the worker protocol and checks that the other side does: what breaks a rule is noted in
 * `violations`. `at` is asked at every call and stream message, and may cut all connections there.
 */
export class FakeServer {
  readonly jobs: FakeServerJob[] = [];
  readonly violations: string[] = [];
  readonly points: string[] = [];
  readonly registrations: string[] = [];
  readonly sequences: string[] = [];
  at: (point: string) => Cut = () => "pass";
  heartbeatMs = 1_000;
  leaseMs = 3_000;
  creditBytes = 4_096;
  /** Whether heartbeats are answered. */
  answersBeats = true;
  /** Called in place of every unary call of JobService. */
  onCall: ((method: string, request: unknown) => unknown) | undefined;
  readonly #sessions = new Map<string, FakeSession>();
  readonly #connections = new Set<Socket>();
  #server: Http2Server | undefined;
  #port = 0;
  #changed = new Set<() => void>();
  #count = 0;

  static async start(): Promise<FakeServer> {
    const server = new FakeServer();
    await server.up();
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  async up(): Promise<void> {
    const server = createServer(connectNodeAdapter({ routes: (router) => this.#routes(router) }));
    server.on("session", (session) => session.on("error", () => {}));
    server.on("connection", (socket) => {
      this.#connections.add(socket);
      socket.on("close", () => this.#connections.delete(socket));
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    const address = server.address();
    this.#port = typeof address === "object" && address ? address.port : 0;
    this.#server = server;
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => (this.#server ? this.#server.close(resolve) : resolve(undefined)));
  }

  /** Cuts every connection. */
  cut(): void {
    for (const socket of [...this.#connections]) socket.destroy();
  }

  enqueue(request: unknown = null, fields: LeasedFields = {}): FakeServerJob {
    const job: FakeServerJob = {
      id: BigInt(this.jobs.length + 1),
      request: JSON.stringify(request),
      fields,
      state: "ready",
      epoch: 0,
      lease: "",
      session: "",
      sequence: 0n,
      logs: [],
      outcomes: [],
      checkpoint: undefined,
      gaveBack: 0,
    };
    this.jobs.push(job);
    this.change();
    return job;
  }

  /** Resolves when the condition holds. */
  async until(condition: () => boolean, ms = 20_000): Promise<void> {
    const deadline = Date.now() + ms;
    while (!condition()) {
      if (Date.now() > deadline)
        throw new Error(`not so after ${ms} ms; last points ${this.points.slice(-8).join(", ")}`);
      await this.#change(20);
    }
  }

  /** Says something on every open report stream. */
  tell(response: MessageInitShape<typeof ReportJobsResponseSchema>): void {
    for (const session of this.#sessions.values()) session.push?.(response);
  }

  direct(kind: NonNullable<MessageInitShape<typeof DirectiveSchema>["kind"]>): void {
    this.tell({ directives: [{ kind }] });
  }

  /** Ends all sessions; what they hold is given to others. */
  loseSessions(): void {
    for (const session of this.#sessions.values()) {
      session.lost = true;
      session.stored = 2n ** 62n;
    }
    for (const job of this.jobs) if (job.state === "leased") this.#giveBack(job);
    this.tell({ errors: [{ code: ReportErrorCode.SESSION_LOST, message: "the session is over" }] });
    this.change();
  }

  /** Takes a job from its holder. */
  revoke(job: FakeServerJob): void {
    const { lease } = job;
    job.state = "ended";
    job.lease = "";
    this.direct({ case: "leaseLost", value: { lease, reason: "taken" } });
  }

  change(): void {
    for (const resolve of [...this.#changed]) resolve();
  }

  #change(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#changed.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#changed.add(done);
    });
  }

  #point(point: string): void {
    this.points.push(point);
    if (this.at(point) === "cut") {
      this.cut();
      throw new ConnectError("cut", Code.Unavailable);
    }
  }

  #routes(router: ConnectRouter): void {
    router.service(WorkerService, {
      registerWorker: (request) => {
        this.#point("register in");
        this.registrations.push(request.instanceId);
        this.#count += 1;
        const id = `session-${this.#count}`;
        this.#sessions.set(id, {
          id,
          stored: 0n,
          closed: 0n,
          beat: 0n,
          lost: false,
          push: undefined,
        });
        this.#point("register out");
        return {
          sessionId: id,
          leaseTime: ms(this.leaseMs),
          heartbeatInterval: ms(this.heartbeatMs),
          maxWait: ms(1_000),
          logCreditBytes: BigInt(this.creditBytes),
        };
      },
      claimJob: async (request, context) => {
        this.#point("claim in");
        const session = this.#session(request.sessionId);
        const { sequence } = request;
        this.sequences.push(`${sequence}/${request.ackSequence}`);
        if (request.maxJobs < 1) this.violations.push("a claim wants no jobs");
        if (sequence <= session.closed) {
          this.violations.push(`sequence ${sequence} was claimed after a heartbeat had called it closed`);
        }
        if (sequence < session.stored) throw failure(Code.Aborted, "STALE_SEQUENCE");
        if (sequence > session.stored) {
          for (const job of this.jobs) {
            if (job.state === "leased" && job.session === session.id && job.sequence > request.ackSequence)
              this.#giveBack(job);
          }
        }
        const until = Date.now() + Number(request.wait?.seconds ?? 0n) * 1_000 + (request.wait?.nanos ?? 0) / 1e6;
        let jobs: LeasedJob[] = [];
        if (sequence === session.stored) {
          const held = (job: FakeServerJob) =>
            job.session === session.id && job.sequence === sequence && job.state === "leased";
          jobs = this.jobs.filter(held).map((job) => this.#leased(job));
        } else {
          while (Date.now() < until && !context.signal.aborted && !session.lost) {
            jobs = this.#lease(session, sequence, request.maxJobs);
            if (jobs.length > 0) break;
            await this.#change(Math.max(1, until - Date.now()));
          }
        }
        if (session.lost) throw failure(Code.Aborted, "SESSION_LOST");
        this.#point("claim out");
        return { jobs, sequence };
      },
      reportJobs: (requests) => this.#report(requests),
      unregisterWorker: (request) => {
        this.#point("unregister");
        const session = this.#sessions.get(request.sessionId);
        if (session !== undefined) session.lost = true;
        const held = this.jobs.filter((job) => job.state === "leased" && job.session === request.sessionId);
        for (const job of held) this.#giveBack(job);
        return { releasedCount: held.length };
      },
    });
    const answer = (method: string) => (request: unknown) => {
      this.#point(method);
      return (this.onCall?.(method, request) ?? {}) as never;
    };
    router.service(JobService, {
      enqueueCommand: answer("enqueueCommand"),
      enqueueBatch: answer("enqueueBatch"),
      getJob: answer("getJob"),
      runCommand: answer("runCommand"),
      listJobs: answer("listJobs"),
      cancelJob: answer("cancelJob"),
      watchJob: (request) => this.onCall?.("watchJob", request) as never,
    });
  }

  async *#report(requests: AsyncIterable<ReportJobsRequest>): AsyncGenerator<ReportJobsResponse> {
    this.#point("report open");
    const down: ReportJobsResponse[] = [];
    let wake = () => {};
    let over = false;
    let failed: unknown;
    const push = (response: MessageInitShape<typeof ReportJobsResponseSchema>) => {
      down.push(create(ReportJobsResponseSchema, response));
      wake();
    };
    let credit = this.creditBytes;
    const read = async () => {
      let session: FakeSession | undefined;
      for await (const message of requests) {
        this.#point("report in");
        if (session === undefined) {
          session = this.#sessions.get(message.sessionId);
          if (session === undefined) throw failure(Code.Aborted, "SESSION_LOST");
          session.push = push;
          if (session.lost) push({ errors: [{ code: ReportErrorCode.SESSION_LOST, message: "over" }] });
        }
        const bytes = message.logs.reduce((sum, logs) => sum + toBinary(LogReportSchema, logs).length, 0);
        if (bytes > credit && credit < this.creditBytes)
          this.violations.push(`${bytes} bytes of logs for a credit of ${credit}`);
        credit -= bytes;
        const answer = this.#take(session, message);
        credit += bytes;
        this.#point("report taken");
        push({ ...answer, logCreditBytes: BigInt(bytes) });
      }
    };
    const reading = read()
      .catch((error: unknown) => {
        failed = error;
      })
      .finally(() => {
        over = true;
        wake();
      });
    for (;;) {
      const next = down.shift();
      if (next !== undefined) {
        yield next;
        this.#point("report out");
        continue;
      }
      if (over) break;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    await reading;
    if (failed !== undefined) throw failed;
  }

  #take(session: FakeSession, message: ReportJobsRequest): MessageInitShape<typeof ReportJobsResponseSchema> {
    const acks: MessageInitShape<typeof ReportAckSchema>[] = [];
    const lost = (lease: string) => ({ lease, error: { code: ReportErrorCode.LEASE_LOST, message: "not leased" } });
    for (const { lease, fromSequence, lines } of message.logs) {
      const job = this.#byLease(lease);
      if (job === undefined) acks.push(lost(lease));
      else if (Number(fromSequence) > job.logs.length) {
        acks.push({ lease, logSequence: BigInt(job.logs.length), error: { code: ReportErrorCode.LOG_GAP } });
      } else {
        job.logs.push(...lines.slice(job.logs.length - Number(fromSequence)).map((line) => line.message));
        acks.push({ lease, logSequence: BigInt(job.logs.length) });
      }
    }
    for (const { lease, sequence, payload } of message.checkpoints) {
      const job = this.#byLease(lease);
      if (job === undefined) acks.push(lost(lease));
      else {
        job.checkpoint = payload?.kind.case === "json" ? payload.kind.value : undefined;
        acks.push({ lease, checkpointSequence: sequence });
      }
    }
    for (const outcome of message.outcomes) {
      const ended = this.jobs.find((job) => job.outcomes.some((earlier) => earlier.lease === outcome.lease));
      const job = this.#byLease(outcome.lease);
      if (job === undefined && ended === undefined) acks.push(lost(outcome.lease));
      else if (job !== undefined) {
        if (Number(outcome.logSequence) !== job.logs.length) {
          this.violations.push(`an outcome names log line ${outcome.logSequence}, ${job.logs.length} are stored`);
        }
        job.outcomes.push(outcome);
        if (outcome.outcome.case === "release") this.#giveBack(job);
        else job.state = "ended";
        acks.push({ lease: outcome.lease, outcomeStored: true, state: JobState.COMPLETED });
      } else acks.push({ lease: outcome.lease, outcomeStored: true, state: JobState.COMPLETED });
    }
    const { heartbeat } = message;
    if (heartbeat === undefined || heartbeat.beat <= session.beat) {
      this.change();
      return { acks };
    }
    session.beat = heartbeat.beat;
    const loop = heartbeat.loops[0];
    if (loop !== undefined && !loop.sentOpen && loop.sent > loop.received && loop.sent > session.closed)
      session.closed = loop.sent;
    for (const job of this.jobs) {
      if (job.state !== "leased" || job.session !== session.id || heartbeat.leases.includes(job.lease)) continue;
      const judged =
        loop !== undefined &&
        (job.sequence <= loop.received || job.sequence < loop.sent || (job.sequence === loop.sent && !loop.sentOpen));
      if (judged) this.#giveBack(job);
    }
    for (const lease of heartbeat.leases) {
      const ended = this.jobs.some((job) => job.outcomes.some((outcome) => outcome.lease === lease));
      if (this.#byLease(lease) === undefined) acks.push(ended ? { lease, outcomeStored: true } : lost(lease));
    }
    this.change();
    if (session.lost) return { acks, errors: [{ code: ReportErrorCode.SESSION_LOST, message: "over" }] };
    if (!this.answersBeats) return { acks };
    return { acks, heartbeat: { beat: heartbeat.beat, leaseTime: ms(this.leaseMs) } };
  }

  #session(id: string): FakeSession {
    const session = this.#sessions.get(id);
    if (session === undefined || session.lost) throw failure(Code.Aborted, "SESSION_LOST");
    return session;
  }

  #byLease(lease: string): FakeServerJob | undefined {
    return this.jobs.find((job) => job.state === "leased" && job.lease === lease);
  }

  #lease(session: FakeSession, sequence: bigint, max: number): LeasedJob[] {
    const ready = this.jobs.filter((job) => job.state === "ready").slice(0, max);
    if (ready.length > 0) session.stored = sequence;
    for (const job of ready) {
      job.state = "leased";
      job.epoch += 1;
      job.lease = `lease-${job.id}-${job.epoch}`;
      job.session = session.id;
      job.sequence = sequence;
      job.logs = [];
    }
    return ready.map((job) => this.#leased(job));
  }

  #leased(job: FakeServerJob): LeasedJob {
    return create(LeasedJobSchema, {
      lease: job.lease,
      fencingToken: BigInt(job.epoch),
      jobId: job.id,
      refId: `ref-${job.id}`,
      work: { case: "command", value: "work" },
      request: { kind: { case: "json", value: job.request } },
      run: 1,
      attempt: job.epoch,
      timeout: ms(600_000),
      ...job.fields,
    });
  }

  #giveBack(job: FakeServerJob): void {
    job.state = "ready";
    job.lease = "";
    job.gaveBack += 1;
    this.change();
  }
}

/** An error as the server makes them. */
export function failure(
  code: Code,
  reason: string,
  metadata: Record<string, string> = {},
  retryMs?: number,
): ConnectError {
  const info = { desc: ErrorInfoSchema, value: { reason, domain: "haulier", metadata } };
  const retry = { desc: RetryInfoSchema, value: { retryDelay: ms(retryMs ?? 0) } };
  return new ConnectError(reason.toLowerCase(), code, undefined, retryMs === undefined ? [info] : [info, retry]);
}

function ms(value: number): { seconds: bigint; nanos: number } {
  return { seconds: BigInt(Math.floor(value / 1_000)), nanos: (value % 1_000) * 1e6 };
}
