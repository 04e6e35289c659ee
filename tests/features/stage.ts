// What the TypeScript scenarios stand on: the names of this run, workers for the time of a function, and expectations.
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { inspect, isDeepStrictEqual } from "node:util";
import {
  type Client,
  connect,
  type Handler,
  type HaulierError,
  type Job,
  type RetryPolicy,
  type ServedCommand,
  silentLogger,
  Worker,
  type WorkerOptions,
} from "haulier";

/** Fresh for each start: what every name ends in. */
export const RUN = randomUUID().replaceAll("-", "").slice(0, 12);
export const LANGUAGE = "typescript";
/** Milliseconds after which a scenario that has not ended fails. */
const LONGEST_MS = 80_000;

/** Something was not as the README says; the text is the sentence that the scenario ends with. */
export class Unexpected extends Error {}

/** A name of this run. */
export function named(word: string): string {
  return `${word}-${RUN}`;
}

/** What was seen must be what was wanted. */
export function expect(what: string, seen: unknown, wanted: unknown): void {
  if (!isDeepStrictEqual(seen, wanted)) {
    throw new Unexpected(`${what}: expected ${inspect(wanted, { depth: 5 })}, saw ${inspect(seen, { depth: 5 })}`);
  }
}

/** The condition must hold; the sentence says what was expected and seen. */
export function expectThat(condition: boolean, sentence: string): void {
  if (!condition) throw new Unexpected(sentence);
}

/** The call must fail with such an error, which is given back. */
export async function expectError<E extends HaulierError>(
  what: string,
  kind: abstract new (...args: never[]) => E,
  call: Promise<unknown>,
): Promise<E> {
  let answer: unknown;
  try {
    answer = await call;
  } catch (error) {
    if (error instanceof kind) return error;
    throw new Unexpected(`${what}: expected ${kind.name}, got ${error instanceof Error ? error.stack : String(error)}`);
  }
  throw new Unexpected(`${what}: expected ${kind.name}, got the answer ${inspect(answer)}`);
}

/** What must be there. */
export function present<Value>(what: string, value: Value | undefined): Value {
  if (value === undefined) throw new Unexpected(`${what}: expected one, saw none`);
  return value;
}

/** Asks until the answer is true, and gives it back. */
export async function until<Answer>(
  what: string,
  check: () => Answer | Promise<Answer>,
  seconds = 20,
): Promise<Exclude<NonNullable<Answer>, false>> {
  const deadline = performance.now() + seconds * 1_000;
  for (;;) {
    const answer = await check();
    if (answer) return answer as Exclude<NonNullable<Answer>, false>;
    if (performance.now() > deadline) throw new Unexpected(`${what}: it did not come to pass within ${seconds} s`);
    await pause(50);
  }
}

/** Waits so long. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Ends, with the reason, when the job is told to stop. */
export function toldToStop(job: Job): Promise<never> {
  return new Promise((_, reject) => {
    const stop = () => reject(job.signal.reason);
    if (job.signal.aborted) stop();
    else job.signal.addEventListener("abort", stop, { once: true });
  });
}

/** A worker of the queue that leaves signals to the scenario. */
export function makeWorker(
  queue: string,
  handlers: Readonly<Record<string, Handler<never, unknown>>>,
  options: WorkerOptions & { readonly served?: readonly ServedCommand[] } = {},
): Worker {
  const worker = new Worker({ queues: [queue], logger: silentLogger, handleSignals: false, ...options });
  for (const [name, handler] of Object.entries(handlers)) worker.handle(name, handler as Handler);
  return worker;
}

/** A worker that runs for the time of a function; registered when it begins, drained when it ends. */
export async function working<Result>(worker: Worker, story: () => Promise<Result>): Promise<Result> {
  const run = worker.run();
  try {
    await worker.registered();
    return await story();
  } finally {
    await worker.stop({ grace: "2s" });
    await run;
  }
}

/** So many retries, always so long after the failure. */
export function fixed(retryLimit: number, milliseconds: number): RetryPolicy {
  return { retryLimit, backoff: "fixed", firstDelay: milliseconds };
}

/** A worker program of some language, in a process of its own. */
export class WorkerProgram {
  readonly #process: ChildProcess;

  private constructor(
    readonly language: string,
    process: ChildProcess,
  ) {
    this.#process = process;
  }

  /** Starts it and waits until it is registered. */
  static async start(
    language: string,
    queue: string,
    { leaseSeconds = 5, drainSeconds = 1 }: { readonly leaseSeconds?: number; readonly drainSeconds?: number } = {},
  ): Promise<WorkerProgram> {
    const command = process.env[variableOf(language)] ?? "";
    const settings = {
      HAULIER_SCENARIO_QUEUE: queue,
      HAULIER_SCENARIO_LEASE_SECONDS: String(leaseSeconds),
      HAULIER_SCENARIO_DRAIN_SECONDS: String(drainSeconds),
    };
    const child = spawn("sh", ["-c", `exec ${command}`], {
      env: { ...process.env, ...settings },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const program = new WorkerProgram(language, child);
    const lines = createInterface({ input: child.stdout });
    const [line] = await Promise.race([
      once(lines, "line"),
      once(child, "exit"),
      pause(30_000).then(() => ["nothing"]),
    ]);
    if (line !== "ready") program.send("SIGKILL");
    expect(`the first line of the ${language} worker program`, line, "ready");
    return program;
  }

  /** Starts it for the time of a function. */
  static async during<Result>(
    language: string,
    queue: string,
    story: (program: WorkerProgram) => Promise<Result>,
    options: { readonly leaseSeconds?: number; readonly drainSeconds?: number } = {},
  ): Promise<Result> {
    const program = await WorkerProgram.start(language, queue, options);
    try {
      return await story(program);
    } finally {
      program.send("SIGKILL");
    }
  }

  send(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Waits for its end; gives its exit code. */
  async ended(seconds = 15): Promise<number | null> {
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const exit = once(child, "exit") as Promise<[number | null]>;
    const late = pause(seconds * 1_000).then((): never => {
      throw new Unexpected(`the ${this.language} worker program did not end within ${seconds} s`);
    });
    return (await Promise.race([exit, late]))[0];
  }
}

/** The languages whose worker programs are there. */
export function languages(): string[] {
  return ["python", "typescript", "rust"].filter((language) => process.env[variableOf(language)]);
}

function variableOf(language: string): string {
  return `HAULIER_SCENARIO_WORKER_${language.toUpperCase()}`;
}

/** Runs a scenario as the program that it is. */
export function play(name: string, story: (client: Client, queue: string) => Promise<void>): void {
  const longest = setTimeout(() => end(`it did not end within ${LONGEST_MS / 1_000} s`), LONGEST_MS);
  story(connect(), named(name)).then(
    () => {
      clearTimeout(longest);
      process.exit(0);
    },
    (error: unknown) => {
      if (error instanceof Unexpected) end(error.message);
      else end(`expected no error, got ${error instanceof Error ? error.stack : inspect(error)}`);
    },
  );
}

function end(sentence: string): never {
  console.error(sentence);
  process.exit(1);
}
