import { errorOfCode, HaulierError, toHaulierError } from "./errors.js";
import type { WatchJobResponse, WatchJobsResponse } from "./gen/haulier/v1/job_service_pb.js";
import { RECONNECT_DELAY_MS } from "./limits.js";
import { dateOf } from "./options.js";
import { isSettled, type JobResult, type JobSummary, type LogLine, logLineOf, resultOf, summaryOf } from "./record.js";
import { isRetryable, retryDelayMs, sleep } from "./retry.js";

/** One event of a watched job. `resumeToken` resumes after it. */
export type WatchEvent = { readonly resumeToken: string } & (
  | {
      /** The job with its full record: the first event, and the last one. */ readonly kind: "snapshot";
      readonly job: JobResult;
    }
  | { /** State or attempt changed. */ readonly kind: "state"; readonly job: JobSummary }
  | {
      /** Progress or status changed; the latest wins. */
      readonly kind: "progress";
      readonly run: number;
      readonly epoch: number;
      /** How much is done, 0 to 1; undefined: not known. */
      readonly fraction: number | undefined;
      /** Whether it is estimated from earlier runs. */
      readonly estimated: boolean;
      readonly status: string | undefined;
      readonly time: Date | undefined;
    }
  | { /** Log lines, in order. */ readonly kind: "logs"; readonly lines: readonly LogLine[] }
  | GapEvent
);

/** Lines or changes were left out, since the reader was slow or they were never kept. */
export interface GapEvent {
  readonly kind: "gap";
  readonly run: number;
  readonly epoch: number;
  /** First and last missing line; 0: not known. */
  readonly fromSequence: number;
  readonly toSequence: number;
  readonly reason: string;
}

/** One event of watched jobs. */
export type WatchJobsEvent = { readonly resumeToken: string } & (
  | { /** A job that matches, as it is now. */ readonly kind: "job"; readonly job: JobSummary }
  | {
      /** The initial set is complete. */ readonly kind: "synced";
      readonly jobCount: number;
      readonly truncated: boolean;
    }
  | GapEvent
);

/** What a stream that can be resumed needs. */
export interface Resumable<Response, Event> {
  readonly operation: string;
  readonly open: (resumeToken: string) => AsyncIterable<Response>;
  readonly read: (response: Response) => Event | undefined;
  readonly tokenOf: (response: Response) => string;
  /** Token to begin after. */
  readonly resumeToken: string;
  readonly signal: AbortSignal | undefined;
  /** How long the first event may take to come while the server is away. */
  readonly retryTimeMs: number;
  /** Whether the stream may end after this event. */
  readonly isLast: (event: Event) => boolean;
  /** Whether a broken stream needs no other after the last event. */
  readonly endsAtLast: boolean;
}

/** Reads a stream over all its breaks: each time from the last token on. */
export async function* resume<Response, Event>(
  stream: Resumable<Response, Event>,
): AsyncGenerator<Event, void, undefined> {
  const { operation, signal } = stream;
  const begin = performance.now();
  let token = stream.resumeToken;
  let repeat = 0;
  let heard = false;
  let last = false;
  for (;;) {
    let broken: HaulierError | undefined;
    try {
      for await (const response of stream.open(token)) {
        token = stream.tokenOf(response) || token;
        const event = stream.read(response);
        repeat = 0;
        heard = true;
        if (event === undefined) continue;
        last = stream.isLast(event);
        yield event;
      }
      if (last) return;
    } catch (error) {
      const typed = toHaulierError(error, operation, signal);
      if (typed instanceof HaulierError && typed.reason === "BAD_TOKEN" && heard && token !== "") {
        token = ""; // the token has outlived what it points to: begin anew, events may repeat
      } else if (!isRetryable(typed)) {
        throw typed;
      } else if (last && stream.endsAtLast) {
        return;
      } else if (!heard && performance.now() - begin >= stream.retryTimeMs) {
        throw typed;
      } else {
        broken = typed;
      }
    }
    const error = broken ?? errorOfCode(`${operation}: ended`, { code: "UNAVAILABLE", reason: "SERVER_UNREACHABLE" });
    await sleep(retryDelayMs(error, repeat++, RECONNECT_DELAY_MS), signal);
  }
}

export function watchEventOf(response: WatchJobResponse): WatchEvent | undefined {
  const { event, resumeToken } = response;
  switch (event.case) {
    case "snapshot":
      return { kind: "snapshot", resumeToken, job: resultOf(event.value) };
    case "state":
      return { kind: "state", resumeToken, job: summaryOf(event.value) };
    case "progress":
      return {
        kind: "progress",
        resumeToken,
        run: event.value.run,
        epoch: Number(event.value.epoch),
        fraction: event.value.progress,
        estimated: event.value.progressEstimated,
        status: event.value.status || undefined,
        time: dateOf(event.value.time),
      };
    case "logs":
      return { kind: "logs", resumeToken, lines: event.value.lines.map(logLineOf) };
    case "gap":
      return { resumeToken, ...gapOf(event.value) };
    default:
      return undefined; // an event of a newer server
  }
}

export function watchJobsEventOf(response: WatchJobsResponse): WatchJobsEvent | undefined {
  const { event, resumeToken } = response;
  switch (event.case) {
    case "job":
      return { kind: "job", resumeToken, job: summaryOf(event.value) };
    case "synced":
      return { kind: "synced", resumeToken, jobCount: Number(event.value.jobCount), truncated: event.value.truncated };
    case "gap":
      return { resumeToken, ...gapOf(event.value) };
    default:
      return undefined;
  }
}

/** Whether an event shows a settled outcome with the full record. */
export function showsOutcome(event: WatchEvent): event is WatchEvent & { readonly kind: "snapshot" } {
  return event.kind === "snapshot" && isSettled(event.job.summary.state);
}

function gapOf(gap: {
  readonly run: number;
  readonly epoch: bigint;
  readonly fromSequence: bigint;
  readonly toSequence: bigint;
  readonly reason: string;
}): GapEvent {
  return {
    kind: "gap",
    run: gap.run,
    epoch: Number(gap.epoch),
    fromSequence: Number(gap.fromSequence),
    toSequence: Number(gap.toSequence),
    reason: gap.reason,
  };
}
