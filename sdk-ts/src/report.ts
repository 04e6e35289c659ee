import { create, toBinary } from "@bufbuild/protobuf";
import { errorOfCode, type HaulierError } from "./errors.js";
import type { LeasedJob } from "./gen/haulier/v1/lease_pb.js";
import {
  type CheckpointReport,
  CheckpointReportSchema,
  type OutcomeReport,
  OutcomeReportSchema,
  type ProgressReport,
  ProgressReportSchema,
  type ReportAck,
  type ReportError,
  ReportErrorCode,
} from "./gen/haulier/v1/report_pb.js";
import { type ReportJobsRequest, ReportJobsRequestSchema } from "./gen/haulier/v1/worker_service_pb.js";
import { OUTCOMES_UNACKNOWLEDGED_MAX, REPORT_BYTES_MAX, REPORT_PARTS_MAX } from "./limits.js";
import { LogBuffer, type LogRecord } from "./log.js";
import { type FailOutcome, type Outcome, outcomeReport, unstorable } from "./outcome.js";
import { type Payload, payloadMessage } from "./payload.js";

/** Progress of one job is sent at most this often; the server stores it twice a second. */
const PROGRESS_INTERVAL_MS = 200;

interface PendingCheckpoint {
  readonly report: CheckpointReport;
  readonly cost: number;
  sent: boolean;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** What a worker process has to say about one lease, until the server has acknowledged it. */
export class LeaseReports {
  readonly lease: string;
  readonly logs: LogBuffer;
  checkpoints: PendingCheckpoint[] = [];
  progress: { fraction: number | undefined; status: string | undefined } | undefined;
  /** What was last told, for a stream that has to tell it again. */
  told: { fraction: number | undefined; status: string | undefined } = { fraction: undefined, status: undefined };
  progressAt = 0;
  outcome: Outcome | undefined;
  outcomeSent = false;
  outcomeRefusals = 0;
  /** The lease is held no more: nothing is reported. */
  gone = false;
  #checkpointSequence: bigint;

  constructor(leased: LeasedJob) {
    this.lease = leased.lease;
    this.logs = new LogBuffer(Number(leased.logSequence));
    this.#checkpointSequence = leased.checkpointSequence;
  }

  nextCheckpointSequence(): bigint {
    this.#checkpointSequence += 1n;
    return this.#checkpointSequence;
  }

  /** Whatever waits is to be sent again. */
  rewind(): void {
    this.logs.rewind();
    for (const checkpoint of this.checkpoints) checkpoint.sent = false;
    this.outcomeSent = false;
    const { fraction, status } = this.told;
    if (this.outcome === undefined && (fraction !== undefined || status !== undefined)) {
      this.progress ??= { fraction, status };
    }
  }
}

/**
 * The reports of all leases, and how they become messages: within the log credit, an outcome after its log lines, and again
 * after a break what was not acknowledged. It knows nothing of streams and sessions.
 */
export class ReportQueue {
  readonly #reports = new Map<string, LeaseReports>();
  /** Leases that may have something to send. */
  #dirty = new Set<LeaseReports>();
  readonly #wake: () => void;
  #credit = 0;
  #creditFull = 0;
  #unacknowledged = 0;

  constructor(wake: () => void) {
    this.#wake = wake;
  }

  /** Outcomes that wait for their acknowledgement, sent or not. */
  get unacknowledged(): number {
    return this.#unacknowledged;
  }

  /** Whether nothing waits to be stored. */
  get isEmpty(): boolean {
    return this.#unacknowledged === 0;
  }

  get(lease: string): LeaseReports | undefined {
    return this.#reports.get(lease);
  }

  add(leased: LeasedJob): LeaseReports {
    const reports = new LeaseReports(leased);
    this.#reports.set(reports.lease, reports);
    return reports;
  }

  log(reports: LeaseReports, record: LogRecord): void {
    if (reports.gone || reports.outcome !== undefined) return;
    reports.logs.add(record);
    this.#mark(reports);
  }

  progress(reports: LeaseReports, fraction: number | undefined, status: string | undefined): void {
    if (reports.gone || reports.outcome !== undefined) return;
    reports.progress = {
      fraction: fraction ?? reports.progress?.fraction,
      status: status ?? reports.progress?.status,
    };
    this.#mark(reports);
  }

  /** Resolves when the checkpoint is stored; a newer one takes the place of one that was not sent. */
  checkpoint(reports: LeaseReports, payload: Payload): Promise<void> {
    return new Promise((resolve, reject) => {
      if (reports.gone || reports.outcome !== undefined) return reject(leaseLost("the checkpoint cannot be stored"));
      const sequence = reports.nextCheckpointSequence();
      const report = create(CheckpointReportSchema, {
        lease: reports.lease,
        sequence,
        payload: payloadMessage(payload),
      });
      const cost = toBinary(CheckpointReportSchema, report).length;
      if (cost > REPORT_BYTES_MAX) {
        const data = { code: "INVALID_ARGUMENT", reason: "MESSAGE_TOO_LARGE" } as const;
        return reject(errorOfCode(`save checkpoint: it has ${cost} bytes, at most 3 MiB are allowed`, data));
      }
      reports.checkpoints.push({ report, cost, sent: false, resolve, reject });
      this.#mark(reports);
    });
  }

  /** The attempt ended. */
  end(reports: LeaseReports, outcome: Outcome): void {
    if (reports.gone || reports.outcome !== undefined) return;
    if (outcome.kind === "dropped") return this.forget(reports);
    reports.outcome = outcome;
    reports.progress = undefined;
    this.#unacknowledged++;
    this.#mark(reports);
  }

  /** The lease is lost, or all is stored: nothing more is sent about it. */
  forget(reports: LeaseReports): void {
    if (reports.gone) return;
    reports.gone = true;
    if (reports.outcome !== undefined) this.#unacknowledged--;
    this.#reports.delete(reports.lease);
    this.#dirty.delete(reports);
    for (const checkpoint of reports.checkpoints.splice(0)) {
      if (reports.outcome === undefined) checkpoint.reject(leaseLost("the checkpoint may not be stored"));
      else checkpoint.resolve(); // the outcome is stored: no further attempt will ask for it
    }
  }

  /** A stream was opened: everything that is not acknowledged is sent again. */
  restart(creditBytes: number): void {
    this.#credit = creditBytes;
    this.#creditFull = creditBytes;
    for (const reports of this.#reports.values()) {
      reports.rewind();
      this.#dirty.add(reports);
    }
  }

  grant(bytes: number): void {
    if (bytes <= 0) return;
    this.#credit += bytes;
    if (this.#dirty.size > 0) this.#wake();
  }

  /** Puts what may be sent now into a message. */
  fill(message: ReportJobsRequest): void {
    const now = performance.now();
    let room = REPORT_BYTES_MAX;
    let delayMs = Number.POSITIVE_INFINITY;
    for (const reports of [...this.#dirty]) {
      if (room <= 0 || message.logs.length >= REPORT_PARTS_MAX || message.outcomes.length >= REPORT_PARTS_MAX) break;
      let clean = true;
      // Logs and checkpoints, within the credit; a full credit lets a part pass that is larger than it.
      while (!reports.logs.isSent && message.logs.length < REPORT_PARTS_MAX) {
        const taken = reports.logs.take(reports.lease, Math.min(this.#credit, room), this.#credit >= this.#creditFull);
        if (taken === undefined) break;
        message.logs.push(taken.report);
        this.#credit -= taken.cost;
        room -= taken.cost;
      }
      if (!reports.logs.isSent) clean = false;
      for (const checkpoint of reports.checkpoints) {
        if (checkpoint.sent) continue;
        const fits = checkpoint.cost <= this.#credit || this.#credit >= this.#creditFull;
        if (
          !fits ||
          (checkpoint.cost > room && room < REPORT_BYTES_MAX) ||
          message.checkpoints.length >= REPORT_PARTS_MAX
        ) {
          clean = false;
          break;
        }
        message.checkpoints.push(checkpoint.report);
        checkpoint.sent = true;
        this.#credit -= checkpoint.cost;
        room -= checkpoint.cost;
      }
      const { progress } = reports;
      if (progress !== undefined) {
        const wait = reports.progressAt + PROGRESS_INTERVAL_MS - now;
        if (wait > 0 || message.progress.length >= REPORT_PARTS_MAX) {
          clean = false;
          delayMs = Math.min(delayMs, Math.max(1, wait));
        } else {
          message.progress.push(progressReport(reports.lease, progress));
          reports.told = {
            fraction: progress.fraction ?? reports.told.fraction,
            status: progress.status ?? reports.told.status,
          };
          reports.progressAt = now;
          reports.progress = undefined;
          room -= 64 + (progress.status?.length ?? 0) * 3;
        }
      }
      if (reports.outcome !== undefined && !reports.outcomeSent) {
        const isReady = reports.logs.isSent && reports.checkpoints.every((checkpoint) => checkpoint.sent);
        const report = isReady ? outcomeReport(reports.lease, reports.logs.last, reports.outcome) : undefined;
        const bytes = report === undefined ? 0 : outcomeBytes(report);
        if (report === undefined || (bytes > room && room < REPORT_BYTES_MAX)) {
          clean = false;
        } else {
          message.outcomes.push(report);
          reports.outcomeSent = true;
          room -= bytes;
        }
      }
      if (clean) this.#dirty.delete(reports);
    }
    if (Number.isFinite(delayMs)) setTimeout(this.#wake, delayMs).unref();
  }

  /** Takes an acknowledgement. Answers what it means for the lease. */
  take(ack: ReportAck): "stored" | "lost" | "open" {
    const reports = this.#reports.get(ack.lease);
    if (reports === undefined) return "open"; // a repeat about a lease that is forgotten
    if (ack.outcomeStored) {
      this.forget(reports);
      return "stored";
    }
    if (ack.logSequence > 0n) reports.logs.acknowledge(Number(ack.logSequence));
    if (ack.checkpointSequence > 0n) {
      const stored = reports.checkpoints.filter(({ report }) => report.sequence <= ack.checkpointSequence);
      reports.checkpoints = reports.checkpoints.filter(({ report }) => report.sequence > ack.checkpointSequence);
      for (const checkpoint of stored) checkpoint.resolve();
    }
    return ack.error === undefined ? "open" : this.#refused(reports, ack.error);
  }

  /** Everything that is not acknowledged was refused for now. */
  sendAllAgain(delayMs: number): void {
    for (const reports of this.#reports.values()) this.#sendAgain(reports, delayMs);
  }

  #refused(reports: LeaseReports, error: ReportError): "lost" | "open" {
    switch (error.code) {
      case ReportErrorCode.LEASE_LOST:
        this.forget(reports);
        return "lost";
      case ReportErrorCode.LOG_GAP:
        reports.logs.rewind();
        reports.outcomeSent = false;
        this.#mark(reports);
        return "open";
      case ReportErrorCode.INVALID:
        this.#invalid(reports, error);
        return "open";
      default:
        this.#sendAgain(reports, 500 + Math.random() * 500);
        return "open";
    }
  }

  /** Something breaks a rule: a repeat would be refused too. */
  #invalid(reports: LeaseReports, error: ReportError): void {
    const why = `${error.field ? `${error.field}: ` : ""}${error.message}`;
    if (error.field.startsWith("logs")) {
      reports.logs.discard(why);
    } else if (error.field.startsWith("checkpoints")) {
      const data = { code: "INVALID_ARGUMENT", reason: "INVALID_FIELD" } as const;
      for (const refused of reports.checkpoints.splice(0)) {
        refused.reject(errorOfCode(`save checkpoint: ${why}`, data));
      }
    } else if (reports.outcome !== undefined) {
      reports.outcome = refusedOutcome(reports.outcome, ++reports.outcomeRefusals, why, error.field);
    }
    reports.outcomeSent = false;
    this.#mark(reports);
  }

  #sendAgain(reports: LeaseReports, delayMs: number): void {
    setTimeout(() => {
      if (reports.gone) return;
      reports.rewind();
      this.#mark(reports);
    }, delayMs).unref();
  }

  #mark(reports: LeaseReports): void {
    this.#dirty.add(reports);
    if (this.#unacknowledged <= 2 * OUTCOMES_UNACKNOWLEDGED_MAX) this.#wake();
  }
}

function progressReport(
  lease: string,
  { fraction, status }: { readonly fraction: number | undefined; readonly status: string | undefined },
): ProgressReport {
  return create(ProgressReportSchema, { lease, progress: fraction, status });
}

/** What is reported in place of an outcome that the server refused. */
function refusedOutcome(outcome: Outcome, refusals: number, why: string, field: string): Outcome {
  if (refusals >= 2) return { kind: "release", reason: "the worker process could not report how it ended" };
  if (outcome.kind === "complete" && !field.includes("enqueue")) return unstorable(`the result was refused: ${why}`);
  const fail: FailOutcome = {
    kind: "fail",
    code: "OUTCOME_REFUSED",
    message: `the outcome was refused: ${why}`,
    stack: "",
    retryable: false,
  };
  return fail;
}

function outcomeBytes(report: OutcomeReport): number {
  const { outcome } = report;
  if (outcome.case === "complete" && outcome.value.enqueue.length === 0) {
    const kind = outcome.value.result?.kind;
    if (kind?.case === "json") return kind.value.length * 3 + 256;
    if (kind?.case === "data") return kind.value.length + 256;
    return 256;
  }
  return toBinary(OutcomeReportSchema, report).length;
}

function leaseLost(what: string): HaulierError {
  return errorOfCode(`${what}: the lease is no longer held`, { code: "ABORTED", reason: "LEASE_LOST" });
}

/** A message with nothing in it. */
export function emptyReport(): ReportJobsRequest {
  return create(ReportJobsRequestSchema, {});
}

/** Whether a message says anything. */
export function saysNothing(message: ReportJobsRequest): boolean {
  return (
    message.heartbeat === undefined &&
    message.received.length === 0 &&
    message.logs.length === 0 &&
    message.checkpoints.length === 0 &&
    message.progress.length === 0 &&
    message.outcomes.length === 0
  );
}
