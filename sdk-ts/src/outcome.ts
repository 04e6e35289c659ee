import { create } from "@bufbuild/protobuf";
import type { ServedCommand } from "./command.js";
import { durationMs, durationOfMs } from "./duration.js";
import { type Cancelled, HaulierError, NonRetryable, RetryAfter } from "./errors.js";
import type { EnqueueItem as EnqueueItemMessage } from "./gen/haulier/v1/enqueue_pb.js";
import {
  type CompleteOutcome as CompleteMessage,
  type OutcomeReport,
  OutcomeReportSchema,
} from "./gen/haulier/v1/report_pb.js";
import { isCancellation, type Job } from "./job.js";
import { ERROR_CODE_CHARS_MAX, ERROR_MESSAGE_BYTES_MAX, ERROR_STACK_BYTES_MAX, REASON_BYTES_MAX } from "./limits.js";
import { cutText } from "./log.js";
import { Payload, payloadMessage } from "./payload.js";
import { FAILURE_REASONS, type FailureReason } from "./record.js";
import { SchemaError, type StandardSchemaV1, validate } from "./schema.js";

/** How an attempt ended, as the worker process reports it. */
export type Outcome =
  | CompleteOutcome
  | FailOutcome
  | { readonly kind: "release"; readonly reason: string }
  | { readonly kind: "cancelled"; readonly reason: string }
  | { /** The lease is lost: nothing is reported. */ readonly kind: "dropped" };

/** An attempt that completed the job. */
export interface CompleteOutcome {
  readonly kind: "complete";
  readonly result: Payload;
  /** Jobs to store with it. */
  readonly enqueue: readonly EnqueueItemMessage[];
}

/** A failed attempt. */
export interface FailOutcome {
  readonly kind: "fail";
  readonly code: string;
  readonly message: string;
  readonly stack: string;
  /** False: never retry. Undefined: by policy. */
  readonly retryable?: boolean | undefined;
  /** When to try again at the earliest, in place of the policy's wait. */
  readonly retryDelayMs?: number | undefined;
  readonly reason?: FailureReason | undefined;
}

/** A result larger than this is never sent: the server takes at most 3 MiB. */
const RESULT_BYTES_MAX = 3 * 1024 * 1024;

/** Runs a handler once and says how the attempt ended. Never rejects. */
export async function runHandler(
  served: Pick<ServedCommand, "handler"> & { readonly request?: StandardSchemaV1 | undefined },
  job: Job,
): Promise<Outcome> {
  let request: unknown;
  try {
    request = job.request.value();
    if (served.request !== undefined) request = await validate(served.request, request, "the request");
  } catch (error) {
    const isOurs = error instanceof SchemaError || error instanceof HaulierError;
    const code = isOurs ? "UNREADABLE_REQUEST" : codeOf(error);
    return { ...failOf(error, code), stack: "", retryable: false, reason: "unreadable_request" };
  }
  try {
    const outcome = completeOf(await served.handler(job, request));
    const items = outcome.kind === "complete" ? job.takeItems() : undefined;
    return items === undefined ? outcome : { ...(outcome as CompleteOutcome), enqueue: await items };
  } catch (error) {
    return outcomeOfError(error, job.stopped);
  }
}

function completeOf(value: unknown): CompleteOutcome | FailOutcome {
  let result: Payload;
  try {
    result = Payload.of(value, "the result");
    const bytes = result.json === undefined ? (result.data?.length ?? 0) : Buffer.byteLength(result.json);
    if (bytes > RESULT_BYTES_MAX)
      throw new RangeError(`the result has ${bytes} bytes, at most ${RESULT_BYTES_MAX} are allowed`);
  } catch (error) {
    return unstorable(error instanceof Error ? error.message : String(error));
  }
  return { kind: "complete", result, enqueue: [] };
}

/** A result that cannot be stored: never retried. */
export function unstorable(message: string): FailOutcome {
  const reason = "unstorable_result" as const;
  return { kind: "fail", code: "UNSTORABLE_RESULT", message, stack: "", retryable: false, reason };
}

/** An attempt that ran over its timeout. */
export function timedOut(message: string): FailOutcome {
  return { kind: "fail", code: "TIMEOUT", message, stack: "", reason: "timeout" };
}

/** What a handler's error means: after a stop signal its kind decides, else it is a failure. */
export function outcomeOfError(error: unknown, stopped: Cancelled | undefined): Outcome {
  if (isCancellation(error, stopped)) return outcomeOfStop(stopped ?? (error as Cancelled));
  const fail = failOf(error, codeOf(error));
  if (error instanceof NonRetryable) return { ...fail, retryable: false };
  if (error instanceof RetryAfter) {
    try {
      return { ...fail, retryDelayMs: durationMs(error.delay, "delay") };
    } catch {
      return fail; // a delay that is none: the policy's wait
    }
  }
  return fail;
}

/** What obeying a stop signal means. */
export function outcomeOfStop(stop: Cancelled): Outcome {
  switch (stop.kind) {
    case "cancel":
    case "handler":
      return { kind: "cancelled", reason: stop.message };
    case "timeout":
      return timedOut(stop.message);
    case "drain":
    case "in_doubt":
      return { kind: "release", reason: stop.message };
    case "lease_lost":
      return { kind: "dropped" };
  }
}

function failOf(error: unknown, code: string): FailOutcome {
  if (error instanceof Error) {
    return { kind: "fail", code, message: messageOf(error), stack: error.stack ?? "" };
  }
  let text: string;
  try {
    text = typeof error === "string" ? error : (JSON.stringify(error) ?? String(error));
  } catch {
    text = String(error);
  }
  return {
    kind: "fail",
    code,
    message: `the handler threw a ${error === null ? "null" : typeof error}: ${text}`,
    stack: "",
  };
}

function messageOf(error: Error): string {
  const message = error.message || error.name;
  const cause = error.cause instanceof Error ? error.cause.message : "";
  const isTold = error instanceof HaulierError || cause === "" || message.includes(cause);
  return isTold ? message : `${message}: ${cause}`;
}

/** The error's own code if it has one (as Node's errors do), else its type. */
function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "NON_ERROR";
  if ("code" in error && typeof error.code === "string" && error.code !== "") return error.code;
  return error.name || error.constructor.name;
}

/** The outcome as the contract has it; undefined when there is nothing to report. */
export function outcomeReport(lease: string, logSequence: number, outcome: Outcome): OutcomeReport | undefined {
  const base = { lease, logSequence: logSequence === 0 ? 0n : BigInt(logSequence) };
  switch (outcome.kind) {
    case "complete": {
      const { result, enqueue } = outcome;
      // Written out, since this is made for every job: `create` takes several times as long.
      const value: CompleteMessage = {
        $typeName: "haulier.v1.CompleteOutcome",
        result: payloadMessage(result),
        enqueue: enqueue as EnqueueItemMessage[],
      };
      return { $typeName: "haulier.v1.OutcomeReport", ...base, outcome: { case: "complete", value } };
    }
    case "fail": {
      const value = {
        code: outcome.code.slice(0, ERROR_CODE_CHARS_MAX),
        message: cutText(outcome.message, ERROR_MESSAGE_BYTES_MAX),
        stack: cutText(outcome.stack, ERROR_STACK_BYTES_MAX),
        retryable: outcome.retryable,
        retryDelay: outcome.retryDelayMs === undefined ? undefined : durationOfMs(outcome.retryDelayMs),
        reason: outcome.reason === undefined ? 0 : FAILURE_REASONS.indexOf(outcome.reason),
      };
      return create(OutcomeReportSchema, { ...base, outcome: { case: "fail", value } });
    }
    case "release":
    case "cancelled": {
      const value = { reason: cutText(outcome.reason, REASON_BYTES_MAX) };
      return create(OutcomeReportSchema, { ...base, outcome: { case: outcome.kind, value } });
    }
    case "dropped":
      return undefined;
  }
}
