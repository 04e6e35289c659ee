/**
 * Handlers in threads of their own, for work that computes for long without awaiting: such work would keep other handlers
 * and, past the lease time, heartbeats waiting. A thread can also be ended when its handler does not stop.
 *
 * @packageDocumentation
 */
import { type ResourceLimits, Worker as Thread } from "node:worker_threads";
import type { EnqueuedJob } from "./client.js";
import type { Handler } from "./command.js";
import { Cancelled, NonRetryable, RetryAfter } from "./errors.js";
import type { Job } from "./job.js";
import type { JobOptions } from "./options.js";

/** What a handler in a thread is given: a copy of the job's facts, and its reports. */
export type ThreadJob = Pick<
  Job,
  | "id"
  | "refId"
  | "command"
  | "run"
  | "attempt"
  | "crashes"
  | "fencingToken"
  | "options"
  | "args"
  | "userId"
  | "userClaims"
  | "parents"
  | "checkpoint"
  | "lastError"
  | "recurringTask"
  | "transient"
  | "signal"
  | "log"
  | "progress"
  | "status"
  | "saveCheckpoint"
> & {
  /** As `enqueue` of a job, for a command by its name. */
  enqueue(command: string, request?: unknown, options?: JobOptions): Promise<EnqueuedJob>;
  /** As `enqueueOnComplete` of a job, for a command by its name. */
  enqueueOnComplete(command: string, request?: unknown, options?: JobOptions): void;
};

/** A handler in a module that a thread loads: its default export, or the export that is named. */
export type ThreadHandler<Request = unknown, Result = unknown> = (
  job: ThreadJob,
  request: Request,
) => Result | Promise<Result>;

/** Options of {@link inThread}. */
export interface ThreadOptions {
  /** Export of the module that is the handler. @default "default" */
  readonly exportName?: string;
  /** Limits of the thread's memory. @default Node's */
  readonly resourceLimits?: ResourceLimits;
  /** Threads that are kept for later jobs. @default 4 */
  readonly idleMax?: number;
}

/**
 * A handler that runs in a thread. Request, result and checkpoint are copied (structured clone). When the handler is told to
 * stop and does not, its thread is ended shortly before the grace is over.
 *
 * @param module URL of a JavaScript module, as in `new URL("./resize.js", import.meta.url)`.
 *
 * @example
 * ```ts
 * worker.handle(resize, inThread(new URL("./resize-handler.js", import.meta.url)));
 * ```
 */
export function inThread<Request = unknown, Result = unknown>(
  module: URL | string,
  options: ThreadOptions = {},
): Handler<Request, Result> {
  const idle: Thread[] = [];
  const { exportName = "default", resourceLimits, idleMax = 4 } = options;
  const start = () => {
    const workerData = { module: String(module), exportName };
    const thread = new Thread(ENTRY, { eval: true, workerData, ...(resourceLimits && { resourceLimits }) });
    thread.unref();
    thread.on("error", () => {}); // one that fails while it is idle only leaves
    thread.once("exit", () => {
      const at = idle.indexOf(thread);
      if (at >= 0) idle.splice(at, 1);
    });
    return thread;
  };
  return async (job, request) => {
    const thread = idle.pop() ?? start();
    const { result, isReusable } = await runIn(thread, job, request);
    if (isReusable && idle.length < idleMax) idle.push(thread);
    else void thread.terminate();
    if (result.error !== undefined) throw errorOf(result.error, job);
    return result.value as Result;
  };
}

/** Time for a handler whose job has no grace. */
const STOP_TIME_MS = 1_000;

interface ThreadError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly code: unknown;
  readonly kind: unknown;
  readonly delay: unknown;
}

type Message =
  | { readonly kind: "log"; readonly level: "info"; readonly message: string; readonly fields: Record<string, unknown> }
  | { readonly kind: "progress"; readonly fraction: number; readonly status: string | undefined }
  | { readonly kind: "status"; readonly text: string }
  | { readonly kind: "checkpoint"; readonly number: number; readonly value: unknown }
  | (Enqueue & { readonly kind: "enqueue"; readonly number: number })
  | (Enqueue & { readonly kind: "enqueueOnComplete" })
  | { readonly kind: "end"; readonly value?: unknown; readonly error?: ThreadError };

interface Enqueue {
  readonly command: string;
  readonly request: unknown;
  readonly options: JobOptions | undefined;
}

interface Ended {
  readonly result: { readonly value?: unknown; readonly error?: ThreadError | Error };
  readonly isReusable: boolean;
}

function runIn(thread: Thread, job: Job, request: unknown): Promise<Ended> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const end = (ended: Ended) => {
      clearTimeout(timer);
      job.signal.removeEventListener("abort", onStop);
      thread.off("message", onMessage).off("error", onError).off("exit", onExit);
      thread.unref();
      resolve(ended);
    };
    const fail = (error: Error) => end({ result: { error }, isReusable: false });
    const onStop = () => {
      const { kind, message, graceMs } = job.signal.reason as Cancelled;
      thread.postMessage({ kind: "stop", reason: { kind, message, graceMs } });
      timer = setTimeout(() => fail(job.signal.reason as Cancelled), graceMs > 0 ? graceMs * 0.8 : STOP_TIME_MS);
    };
    const answer = (number: number, work: Promise<unknown>) => {
      work.then(
        (value) => thread.postMessage({ kind: "answer", number, value }),
        (error: unknown) => {
          const { name, message, code, reason } = error as Error & { code?: unknown; reason?: unknown };
          thread.postMessage({ kind: "answer", number, error: { name, message, code, reason } });
        },
      );
    };
    const act = (message: Message): void => {
      switch (message.kind) {
        case "log":
          return job.log[message.level](message.message, message.fields);
        case "progress":
          return job.progress(message.fraction, message.status);
        case "status":
          return job.status(message.text);
        case "checkpoint":
          return answer(message.number, job.saveCheckpoint(message.value));
        case "enqueue":
          return answer(message.number, job.enqueue(message.command, message.request, message.options));
        case "enqueueOnComplete":
          return job.enqueueOnComplete(message.command, message.request, message.options);
        case "end":
          return end({ result: message, isReusable: true });
      }
    };
    const onMessage = (message: Message) => {
      try {
        act(message);
      } catch (error) {
        onError(error); // what the thread reported is refused: the handler has failed
      }
    };
    const onError = (error: unknown) => fail(error instanceof Error ? error : new Error(String(error)));
    const onExit = (code: number) => fail(new Error(`the handler's thread ended with ${code}`));
    thread.on("message", onMessage).on("error", onError).on("exit", onExit);
    thread.ref();
    try {
      thread.postMessage({ kind: "run", facts: factsOf(job), request });
    } catch (error) {
      return fail(error instanceof Error ? error : new Error(String(error)));
    }
    if (job.signal.aborted) onStop();
    else job.signal.addEventListener("abort", onStop, { once: true });
  });
}

function factsOf(job: Job) {
  const { id, refId, command, run, attempt, crashes, fencingToken, options, args, userId, userClaims } = job;
  const { parents, checkpoint, lastError, recurringTask, transient } = job;
  return {
    ...{ id, refId, command, run, attempt, crashes, fencingToken, options, args, userId, userClaims },
    ...{ parents, checkpoint, lastError, recurringTask, transient },
  };
}

/** The error as the handler threw it, as far as it can be copied. */
function errorOf(error: ThreadError | Error, job: Job): Error {
  if (error instanceof Error) return error;
  const { name, message, stack, code, delay } = error;
  const isStop = name === "Cancelled" || (job.signal.aborted && name === "AbortError");
  if (isStop) return job.signal.aborted ? (job.signal.reason as Cancelled) : new Cancelled(message);
  const ownCode = typeof code === "string" ? { code } : {};
  if (name === "NonRetryable") return new NonRetryable(message, ownCode);
  if (name === "RetryAfter") return new RetryAfter(delay as number, message, ownCode);
  return Object.assign(new Error(message), { name, ...(stack !== undefined && { stack }), ...ownCode });
}

/** What runs in the thread. Text, so that it needs no file of its own wherever this package is bundled to. */
const ENTRY = `
const { parentPort, workerData } = require("node:worker_threads");
const loaded = import(workerData.module).then((module) => {
  const handler = module[workerData.exportName];
  if (typeof handler !== "function") throw new TypeError(workerData.module + " has no function " + workerData.exportName);
  return handler;
});
loaded.catch(() => {});
let controller;
let number = 0;
const calls = new Map();
const call = (message) => new Promise((resolve, reject) => {
  number += 1;
  calls.set(number, { resolve, reject });
  parentPort.postMessage({ ...message, number });
});
const at = (level) => (message, fields = {}) => parentPort.postMessage({ kind: "log", level, message, fields });
parentPort.on("message", async (message) => {
  if (message.kind === "stop") {
    const { kind, graceMs } = message.reason;
    controller?.abort(Object.assign(new Error(message.reason.message), { name: "Cancelled", kind, graceMs }));
  } else if (message.kind === "answer") {
    const waiting = calls.get(message.number);
    calls.delete(message.number);
    if (message.error === undefined) waiting?.resolve(message.value);
    else waiting?.reject(Object.assign(new Error(message.error.message), message.error));
  } else {
    controller = new AbortController();
    const job = {
      ...message.facts,
      signal: controller.signal,
      log: { trace: at("trace"), debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") },
      progress: (fraction, status) => parentPort.postMessage({ kind: "progress", fraction, status }),
      status: (text) => parentPort.postMessage({ kind: "status", text }),
      saveCheckpoint: (value) => call({ kind: "checkpoint", value }),
      enqueue: (command, request, options) => call({ kind: "enqueue", command, request, options }),
      enqueueOnComplete: (command, request, options) =>
        parentPort.postMessage({ kind: "enqueueOnComplete", command, request, options }),
    };
    try {
      const value = await (await loaded)(job, message.request);
      parentPort.postMessage({ kind: "end", value });
    } catch (error) {
      const { name, message: text, stack, code, kind, delay } = error instanceof Error ? error : { name: "NonError", message: String(error) };
      parentPort.postMessage({ kind: "end", error: { name, message: text, stack, code: typeof code === "string" ? code : undefined, kind, delay } });
    }
  }
});
`;
