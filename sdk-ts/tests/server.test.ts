import { spawn } from "node:child_process";
import {
  type Cancelled,
  connect,
  defineCommand,
  type EnqueuedJob,
  type Job,
  JobCancelledError,
  JobFailedError,
  NonRetryable,
  RetryAfter,
  silentLogger,
  Worker,
  type WorkerOptions,
} from "haulier";
import { afterEach, describe, expect, inject, onTestFinished, test } from "vitest";
import { CuttingProxy } from "./proxy.js";
import { RealServer } from "./real-server.js";

const address = inject("address");
const client = connect({ address });
let count = 0;
/** Each test has a queue of its own. */
let queue = "";

function work(handlers: Record<string, (job: Job, request: never) => unknown>, options: WorkerOptions = {}): Worker {
  const worker = new Worker({ address, queues: [queue], logger: silentLogger, handleSignals: false, ...options });
  for (const [name, handler] of Object.entries(handlers))
    worker.handle(name, handler as (job: Job, request: unknown) => unknown);
  const run = worker.run();
  onTestFinished(async () => {
    await worker.stop({ grace: "1ms" });
    await run;
  });
  return worker;
}

function fresh(): string {
  queue = `q${++count}-${Date.now().toString(36)}`;
  return queue;
}

const fast = { retryPolicy: { firstDelay: "20ms", maxDelay: "50ms" } } as const;
const stopped = (job: Job) =>
  new Promise<never>((_, reject) => job.signal.addEventListener("abort", () => reject(job.signal.reason)));

afterEach(() => {
  queue = "";
});

describe("a job", () => {
  test("is enqueued, run and waited for", async () => {
    fresh();
    work({ hello: (_, { name }: { name: string }) => `hello ${name}` });
    const job = await client.enqueue("hello", { name: "ann" }, { queue });
    expect(job).toMatchObject({ id: expect.stringMatching(/^\d+$/), created: true });
    expect(await client.wait(job)).toBe("hello ann");
    const { summary, result, request, record } = await client.get(job);
    expect({ state: summary.state, result, request, record }).toEqual({
      state: "completed",
      result: "hello ann",
      request: { name: "ann" },
      record: "completed",
    });
    expect((await client.get({ refId: job.refId })).summary.id).toBe(job.id);
  });

  test.each([null, 0, "text", [1, 2], { a: [] }, new Uint8Array([0, 255])])(
    "carries %j there and back",
    async (value) => {
      fresh();
      work({ echo: (_, request) => request });
      expect(await client.wait(await client.enqueue("echo", value, { queue }))).toEqual(value);
    },
  );

  test("shows progress, status and logs to whoever watches", async () => {
    fresh();
    let release = () => {};
    const watched = new Promise<void>((resolve) => {
      release = resolve;
    });
    work({
      steps: async (job) => {
        job.log.info("first", { step: 1 });
        job.progress(0.5, "half way");
        await watched;
        job.log.warn("second");
      },
    });
    const job = await client.enqueue("steps", null, { queue });
    const seen: string[] = [];
    for await (const event of client.watch(job)) {
      if (event.kind === "progress" && !event.estimated) {
        seen.push(`${event.fraction} ${event.status}`);
        release();
      }
      // It may have been reported before the watch began, or travel with a change of state.
      if (event.kind === "snapshot" && event.job.summary.progress === 0.5) release();
      if (event.kind === "state" && event.job.progress === 0.5) release();
      if (event.kind === "logs")
        seen.push(...event.lines.map((line) => `${line.level} ${line.message} ${JSON.stringify(line.fields)}`));
    }
    const lines = seen.filter((text) => !text.startsWith("0.5"));
    expect(lines).toEqual(['info first {"step":"1"}', "warn second {}"]);
    expect(seen.filter((text) => text.startsWith("0.5")).every((text) => text === "0.5 half way")).toBe(true);
    expect((await client.listLogs(job, { minLevel: "warn" }).all()).map((line) => line.message)).toEqual(["second"]);
  });

  test("is retried until it succeeds, with its checkpoint", async () => {
    fresh();
    work({
      flaky: async (job) => {
        if (job.attempt < 3) {
          await job.saveCheckpoint({ reached: job.attempt });
          throw Object.assign(new Error(`attempt ${job.attempt}`), { code: "E_FLAKY" });
        }
        return { checkpoint: job.checkpoint, token: job.fencingToken > 0 };
      },
    });
    const job = await client.enqueue("flaky", null, { queue, ...fast });
    expect(await client.wait(job)).toEqual({ checkpoint: { reached: 2 }, token: true });
    const attempts = await client.listAttempts(job).all();
    expect(attempts.map(({ outcome, error }) => [outcome, error?.code])).toEqual([
      ["failed", "E_FLAKY"],
      ["failed", "E_FLAKY"],
      ["completed", undefined],
    ]);
    expect(attempts[0]?.error?.stack).toContain("attempt 1");
  });

  test("that fails for good tells its waiter code, message and attempts", async () => {
    fresh();
    work({
      broken: () => {
        throw new TypeError("always");
      },
    });
    const job = await client.enqueue("broken", null, { queue, retryPolicy: { retryLimit: 1, firstDelay: "10ms" } });
    const error = await client.wait(job).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(JobFailedError);
    expect(error).toMatchObject({
      jobCode: "TypeError",
      message: `job ${job.id} failed: always`,
      attempts: 2,
      failureReason: "handler",
    });
    const { summary, record } = await client.settled(job);
    expect([summary.state, summary.attempt, record]).toEqual(["failed", 2, "failed"]);
  });

  test("is not retried after NonRetryable", async () => {
    fresh();
    work({
      never: () => {
        throw new NonRetryable("never again", { code: "NEVER" });
      },
    });
    const job = await client.enqueue("never", null, { queue });
    await expect(client.wait(job)).rejects.toMatchObject({
      jobCode: "NEVER",
      attempts: 1,
      failureReason: "non_retryable",
    });
  });

  test("is tried again when RetryAfter says", async () => {
    fresh();
    const at: number[] = [];
    work({
      later: (job) => {
        at.push(performance.now());
        if (job.attempt === 1) throw new RetryAfter("400ms");
      },
    });
    await client.wait(await client.enqueue("later", null, { queue }));
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThan(390);
  });

  test("whose request is not what its handler expects fails at once with a sentence", async () => {
    fresh();
    const { z } = await import("zod");
    const worker = new Worker({ address, queues: [queue], logger: silentLogger, handleSignals: false });
    worker.handle(defineCommand({ name: "typed", request: z.object({ n: z.number() }) }), (_, { n }) => n);
    const run = worker.run();
    const job = await client.enqueue("typed", { n: "five" }, { queue });
    await expect(client.wait(job)).rejects.toMatchObject({
      failureReason: "unreadable_request",
      attempts: 1,
      message: expect.stringContaining("n:"),
    });
    await worker.stop();
    await run;
  });

  test("is stopped after its timeout and retried", async () => {
    fresh();
    const kinds: string[] = [];
    work({
      slow: async (job) => {
        if (job.attempt > 1) return "second";
        await stopped(job).catch((reason: Cancelled) => {
          kinds.push(reason.kind);
          throw reason;
        });
        return "never";
      },
    });
    const job = await client.enqueue("slow", null, { queue, timeout: "300ms", ...fast });
    expect(await client.wait(job)).toBe("second");
    expect(kinds).toEqual(["timeout"]);
    const outcomes = (await client.listAttempts(job).all()).map(({ outcome, error }) => [outcome, error?.reason]);
    expect(outcomes).toEqual([
      [expect.stringMatching(/^(failed|timed_out)$/), "timeout"],
      ["completed", undefined],
    ]);
  });

  test("that runs is cancelled within a second, with the reason", async () => {
    fresh();
    const reasons: string[] = [];
    work({
      long: (job) =>
        stopped(job).catch((reason: Cancelled) => {
          reasons.push(`${reason.kind}: ${reason.message}`);
          throw reason;
        }),
    });
    const job = await client.enqueue("long", null, { queue });
    for await (const event of client.watch(job)) {
      if (event.kind === "snapshot" && event.job.summary.state === "running") break;
      if (event.kind === "state" && event.job.state === "running") break;
    }
    const begin = performance.now();
    expect((await client.cancel(job, { reason: "not needed" })).result).toBe("requested");
    const error = await client.wait(job).catch((error: unknown) => error);
    expect(performance.now() - begin).toBeLessThan(10_000); // far less than the grace, after which it would be forced
    expect(error).toBeInstanceOf(JobCancelledError);
    expect(error).toMatchObject({ cancelReason: "client", message: expect.stringContaining("not needed") });
    expect(reasons).toEqual(["cancel: not needed"]);
  });

  test("that waits is cancelled at once, and can be requeued", async () => {
    fresh();
    const job = await client.enqueue("waits", null, { queue });
    expect((await client.cancel(job)).result).toBe("cancelled");
    expect((await client.cancel(job)).result).toBe("already_finished");
    const again = await client.requeue(job);
    expect(again.job).toMatchObject({ id: job.id, run: 2 });
    work({ waits: () => "done" });
    expect(await client.wait(job)).toBe("done");
  });

  test("does not start before its delay or its runAfter", async () => {
    fresh();
    work({ later: () => Date.now() });
    const begin = Date.now();
    const delayed = await client.enqueue("later", null, { queue, delay: "500ms" });
    const after = await client.enqueue("later", null, { queue, runAfter: new Date(begin + 700) });
    expect(await client.wait(delayed)).toBeGreaterThanOrEqual(begin + 490);
    expect(await client.wait(after)).toBeGreaterThanOrEqual(begin + 690);
  });

  test("of higher priority starts first", async () => {
    fresh();
    const order: unknown[] = [];
    for (const priority of ["low", "high", 17, "normal"] as const)
      await client.enqueue("note", priority, { queue, priority });
    work(
      {
        note: (_, request) => {
          order.push(request);
        },
      },
      { slots: 1 },
    );
    await expect.poll(() => order.length).toBe(4);
    expect(order).toEqual(["high", 17, "normal", "low"]);
  });

  test("of a named worker runs alone and in order", async () => {
    fresh();
    const order: unknown[] = [];
    let now = 0;
    let most = 0;
    const handler = async (_: Job, request: unknown) => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 15));
      order.push(request);
      now--;
    };
    for (let index = 0; index < 6; index++) await client.enqueue("serial", index, { queue, worker: `lane-${queue}` });
    work({ serial: handler });
    await expect.poll(() => order.length).toBe(6);
    expect({ order, most }).toEqual({ order: [0, 1, 2, 3, 4, 5], most: 1 });
  });

  test("starts after the job it depends on, and gets its result", async () => {
    fresh();
    const parent = await client.enqueue("first", 20, { queue });
    const child = await client.enqueue("second", null, { queue, dependsOn: parent });
    work({ first: (_, n: number) => n + 1, second: (job) => ({ parent: job.parent?.result }) });
    expect(await client.wait(child)).toEqual({ parent: 21 });
  });

  test("whose ref id is taken fails, or is the first one when that is asked for", async () => {
    fresh();
    const refId = `ref-${queue}`;
    const first = await client.enqueue("ref", 1, { queue, refId });
    await expect(client.enqueue("ref", 1, { queue, refId })).rejects.toMatchObject({
      name: "AlreadyExistsError",
      reason: "REF_ID_TAKEN",
      jobId: first.id,
    });
    const again = await client.enqueue("ref", 1, { queue, refId, refIdPolicy: "return_existing" });
    expect(again).toMatchObject({ id: first.id, created: false });
    await expect(client.enqueue("ref", 2, { queue, refId, refIdPolicy: "return_existing" })).rejects.toMatchObject({
      reason: "REF_ID_TAKEN",
    });
  });

  test("is stored once however often the call with one request id is repeated", async () => {
    fresh();
    const call = { requestId: `request-${queue}` };
    const [first, second] = [
      await client.enqueue("once", 1, { queue }, call),
      await client.enqueue("once", 1, { queue }, call),
    ];
    expect(second.id).toBe(first.id);
    await expect(client.enqueue("once", 2, { queue }, call)).rejects.toMatchObject({ reason: "REQUEST_ID_REUSED" });
  });

  test("that has not started by its expireTime is cancelled", async () => {
    fresh();
    const job = await client.enqueue("never", null, { queue, expireTime: new Date(Date.now() + 500) });
    await expect(client.wait(job, { timeout: "15s" })).rejects.toMatchObject({
      name: "JobCancelledError",
      cancelReason: "expired",
    });
  });

  test("runs on behalf of its user, with claims, args and tag", async () => {
    fresh();
    work({
      who: async (job) => {
        const child = await job.enqueue("child", null, { queue });
        return { user: job.userId, claims: job.userClaims, args: job.args, tag: job.options.tag, child: child.id };
      },
      child: (job) => ({ user: job.userId, claims: job.userClaims, parent: job.options.parentId }),
    });
    const options = { queue, userId: "ann", userClaims: { role: "admin" }, args: { k: "v" }, tag: "t" };
    const job = await client.enqueue("who", null, options);
    const result = (await client.wait(job)) as { child: string };
    expect(result).toMatchObject({ user: "ann", claims: { role: "admin" }, args: { k: "v" }, tag: "t" });
    expect(await client.wait(result.child)).toEqual({ user: "ann", claims: { role: "admin" }, parent: job.id });
    const found = await client.listJobs({ queue, args: { k: "v" }, userId: "ann" }).all();
    expect(found.map((found) => found.id)).toEqual([job.id]);
  });

  test("is explained while it waits", async () => {
    fresh();
    const job = await client.enqueue("nobody_serves_this", null, { queue });
    expect(await client.explain(job)).toMatchObject({
      code: "command_not_served",
      explanation: expect.stringContaining("nobody_serves_this"),
    });
  });

  test("that nobody knows is NOT_FOUND", async () => {
    await expect(client.get("123456789")).rejects.toMatchObject({ name: "NotFoundError", reason: "JOB_NOT_FOUND" });
    await expect(client.wait({ refId: "no such" })).rejects.toMatchObject({ reason: "JOB_NOT_FOUND" });
  });

  test("with bad options is refused with every field", async () => {
    const error = await client
      .enqueue("x", null, { priority: 99, queue: "not a queue" })
      .catch((error: unknown) => error);
    expect(error).toMatchObject({ name: "InvalidArgumentError", reason: "INVALID_FIELD" });
    expect((error as { fields: { field: string }[] }).fields.map(({ field }) => field).sort()).toEqual([
      "options.priority",
      "options.queue",
    ]);
  });

  test("with a huge payload is refused, and with a huge result fails", async () => {
    fresh();
    await expect(client.enqueue("x", "x".repeat(1_200_000), { queue })).rejects.toMatchObject({
      name: "InvalidArgumentError",
    });
    work({ big: () => "x".repeat(1_200_000) });
    const job = await client.enqueue("big", null, { queue });
    await expect(client.wait(job)).rejects.toMatchObject({ jobCode: "UNSTORABLE_RESULT", attempts: 1 });
  });
});

describe("many jobs", () => {
  test("go through one worker in batches", async () => {
    fresh();
    let done = 0;
    work(
      {
        noop: () => {
          done++;
        },
      },
      { slots: 100 },
    );
    await Promise.all(Array.from({ length: 500 }, (_, index) => client.enqueue("noop", index, { queue })));
    await expect.poll(() => done).toBe(500);
    await expect.poll(async () => (await client.listJobs({ queue, states: ["completed"] }).all()).length).toBe(500);
  });

  test("with many log lines keep every line", async () => {
    fresh();
    work({
      chatty: (job) => {
        for (let line = 0; line < 3_000; line++) job.log.info(`${line} ${"x".repeat(500)}`);
      },
    });
    const job = await client.enqueue("chatty", null, { queue });
    await client.wait(job);
    const lines = await client.listLogs(job).all();
    expect(lines).toHaveLength(3_000);
    expect(lines.every((line, index) => line.sequence === index + 1 && line.message.startsWith(`${index} `))).toBe(
      true,
    );
  });
});

describe("several jobs", () => {
  test("are stored together, and depend on each other by local keys", async () => {
    fresh();
    const batch = await client.enqueueBatch([
      { command: "part", request: 1, localKey: "a", options: { queue } },
      { command: "sum", localKey: "b", options: { queue, dependsOn: { localKey: "a" } } },
    ]);
    work({ part: (_, n: number) => n, sum: (job) => job.parents.map((parent) => parent.result) });
    expect(await client.wait(batch.jobs[1]?.id ?? "")).toEqual([1]);
    expect((await client.getBatch(batch.batchId)).counts.total).toBe(2);
  });

  test("are stored with an outcome", async () => {
    fresh();
    work({
      outer: (job) => {
        job.enqueueOnComplete("inner", 5, { queue });
        return "outer";
      },
      inner: (_, n: number) => n,
    });
    const job = await client.enqueue("outer", null, { queue, userId: "ann", retryPolicy: { retryLimit: 0 } });
    expect(await client.wait(job)).toBe("outer");
    const inner = await client.listJobs({ queue, command: "inner" }).all();
    expect(inner).toMatchObject([{ parentId: job.id, userId: "ann" }]);
    expect(await client.wait(inner[0] ?? "")).toBe(5);
  });

  test("are cancelled and requeued by filter, after they were counted", async () => {
    fresh();
    for (let n = 0; n < 3; n++) await client.enqueue("bulk", n, { queue });
    expect(await client.cancelJobs({ queue }, { validateOnly: true })).toMatchObject({ matchedCount: 3 });
    expect(await client.cancelJobs({ queue }, { reason: "test" })).toMatchObject({ cancelledCount: 3 });
    expect(await client.requeueJobs({ queue, states: ["cancelled"] })).toMatchObject({ requeuedCount: 3 });
    work({ bulk: (_, n: number) => n });
    await expect.poll(async () => (await client.listJobs({ queue, states: ["completed"] }).all()).length).toBe(3);
  });
});

describe("a transient run", () => {
  test("answers with its result, and leaves nothing behind", async () => {
    fresh();
    const worker = work({ now: (job, n: number) => ({ twice: n * 2, id: job.id, transient: job.transient }) });
    await worker.registered();
    expect(await client.runCommand("now", 21, { queue })).toEqual({ twice: 42, id: "0", transient: true });
    expect(await client.listJobs({ queue }).all()).toEqual([]);
  });

  test("that nobody waits for is known by its ref id", async () => {
    fresh();
    const worker = work({ now: () => "done" });
    await worker.registered();
    const run = await client.startCommand("now", null, { queue });
    expect(await client.wait(run)).toBe("done");
  });
});

describe("an operator", () => {
  test("pauses, resumes and limits a queue", async () => {
    fresh();
    await client.enqueue("any", null, { queue });
    const paused = await client.pauseQueue(queue, { reason: "test" });
    expect(paused).toMatchObject({ name: queue, paused: true, pauseReason: "test" });
    expect((await client.resumeQueue(queue)).paused).toBe(false);
    expect((await client.updateQueue(queue, { concurrencyLimit: 3 })).concurrencyLimit).toBe(3);
    expect((await client.updateQueue(queue, { concurrencyLimit: null })).concurrencyLimit).toBeUndefined();
    const limited = await client.updateQueue(queue, { rateLimit: { count: 10, period: "1m" } });
    expect(limited.rateLimit).toEqual({ count: 10, periodMs: 60_000 });
    expect((await client.listQueues().all()).map(({ name }) => name)).toContain(queue);
    expect((await client.getQueue(queue)).counts.queued).toBe(1);
  });

  test("sees worker processes, and drains one", async () => {
    fresh();
    const worker = work({ any: () => null }, { name: `name-${queue}`, labels: { zone: "a" } });
    await worker.registered();
    expect(await client.listWorkers({ queue }).all()).toMatchObject([
      {
        name: `name-${queue}`,
        queues: [queue],
        labels: { zone: "a" },
        state: "active",
        commands: [{ command: "any" }],
      },
    ]);
    await client.drainWorker({ name: `name-${queue}` });
    await worker.run();
  });

  test("sees figures, commands and servers", async () => {
    fresh();
    const command = `figures-${queue}`;
    const worker = work({ [command]: () => null });
    await client.wait(await client.enqueue(command, null, { queue }));
    await client.enqueue(`nobody-${queue}`, null, { queue });

    await expect
      .poll(async () => (await client.getOverview({ hours: 2 })).commands.map((each) => each.command))
      .toContain(command);
    const overview = await client.getOverview({ hours: 2 });
    expect(overview.counts.queued).toBeGreaterThan(0);
    expect(overview.hours).toHaveLength(2);
    expect(overview.workerCount).toBeGreaterThan(0);
    expect(overview.serverVersion).toMatch(/^\d+\.\d+/);
    expect(overview.time).toBeInstanceOf(Date);

    const commandNow = async (name: string) => (await client.listCommands({ namePrefix: name }).all())[0];
    await expect.poll(() => commandNow(command)).toMatchObject({ name: command, waitingCount: 0, workerCount: 1 });
    // Counts are taken every few seconds.
    await expect.poll(() => commandNow(`nobody-${queue}`)).toMatchObject({ waitingCount: 1, workerCount: 0 });
    await worker.stop();

    const servers = await client.listServers().all();
    expect(servers).toMatchObject([
      { state: "active", isSelf: true, version: overview.serverVersion, store: expect.stringContaining("sqlite") },
    ]);
    const months = await client.listHistoryMonths().all();
    expect(months[0]).toMatchObject({ month: new Date().toISOString().slice(0, 7), state: "open" });
    expect((await client.listDeliveries().page()).items).toEqual([]);
  });

  test("limits how many jobs of a queue run at once", async () => {
    fresh();
    await client.updateQueue(queue, { concurrencyLimit: 2 });
    let [now, most] = [0, 0];
    const worker = work({
      part: async () => {
        most = Math.max(most, ++now);
        await new Promise((resolve) => setTimeout(resolve, 30));
        now--;
      },
    });
    await worker.registered();
    const jobs = await Promise.all(Array.from({ length: 10 }, (_, n) => client.enqueue("part", n, { queue })));
    await Promise.all(jobs.map((job) => client.wait(job)));
    expect(most).toBe(2);
  });
});

describe("a recurring task", () => {
  test("is put once, listed, triggered and deleted", async () => {
    fresh();
    const name = `task-${queue}`;
    const schedule = { cron: "0 3 * * *", timeZone: "Europe/Vienna" };
    const definition = { name, command: "tick", schedule, options: { queue } };
    expect(await client.putRecurringTask(definition)).toMatchObject({
      result: "created",
      task: { name, command: "tick", schedule },
    });
    expect((await client.putRecurringTask(definition)).result).toBe("unchanged");
    expect((await client.listRecurringTasks({ namePrefix: name }).all()).map((task) => task.name)).toEqual([name]);
    work({ tick: (job) => job.recurringTask });
    const { jobId = "" } = await client.triggerRecurringTask(name);
    expect(await client.wait(jobId)).toBe(name);
    await client.deleteRecurringTask(name);
    await expect(client.getRecurringTask(name)).rejects.toMatchObject({ name: "NotFoundError" });
  });

  test("is declared by its worker, and put before that takes jobs", async () => {
    fresh();
    const tick = defineCommand<{ kind: string }, string>({ name: `tick-${queue}` });
    const schedule = { cron: "0 3 1 1 *" };
    const task = { command: tick, request: { kind: "full" }, schedule, options: { queue } } as const;
    const start = async () => {
      const worker = new Worker({
        address,
        queues: [queue],
        logger: silentLogger,
        handleSignals: false,
        recurringTasks: [task],
      });
      worker.handle(tick, (job, { kind }) => `${kind} by ${job.recurringTask}`);
      const run = worker.run();
      onTestFinished(async () => {
        await worker.stop({ grace: "1ms" });
        await run;
      });
      await worker.registered();
      expect(() => worker.recurring(task)).toThrow(/^task: was added after run/);
    };
    await start();
    const made = await client.getRecurringTask(tick.name);
    expect(made).toMatchObject({ command: tick.name, schedule, request: { kind: "full" } });
    expect(made.upcomingTimes[0]).toEqual(made.nextTime);
    expect(made.upcomingTimes).toHaveLength(5);
    await start();
    expect(await client.getRecurringTask(tick.name)).toEqual(made);
    const { jobId = "" } = await client.triggerRecurringTask(tick.name);
    expect(await client.wait(jobId)).toBe(`full by ${tick.name}`);
    await client.pauseRecurringTask(tick.name, { reason: "test" });
    const names = async (filter: { paused?: boolean; enabled?: boolean }) =>
      (await client.listRecurringTasks({ namePrefix: tick.name, ...filter }).all()).map(({ name }) => name);
    expect(await names({ paused: true })).toEqual([tick.name]);
    expect(await names({ paused: false })).toEqual([]);
    expect(await names({ enabled: false })).toEqual([]);
  });

  test("may run without being stored", async () => {
    fresh();
    const name = `transient-${queue}`;
    const seen: Job[] = [];
    const worker = work({ tick: (job) => void seen.push(job) });
    await worker.registered();
    const schedule = { interval: "1s" } as const;
    await client.putRecurringTask({ name, command: "tick", schedule, runCommand: true, options: { queue } });
    await expect.poll(() => seen.length).toBeGreaterThan(1);
    const { runCount, lastJobId, lastRefId } = await client.deleteRecurringTask(name);
    expect(runCount).toBeGreaterThan(0);
    expect(lastJobId).toBeUndefined();
    expect(seen.map(({ refId }) => refId)).toContain(lastRefId);
    expect(seen.every((job) => job.transient && job.recurringTask === name)).toBe(true);
    expect(await client.listJobs({ queue }).all()).toEqual([]);
  });

  test("that is wrong ends its worker before it begins, with the field", async () => {
    fresh();
    const options = { address, queues: [queue], logger: silentLogger, handleSignals: false };
    const schedule = { cron: "0 0 30 2 *" };
    const worker = new Worker({ ...options, recurringTasks: [{ command: "tick", schedule }] });
    worker.handle("tick", () => null);
    await expect(worker.run()).rejects.toMatchObject({ fields: [{ field: "task.schedule.cron" }] });
    expect(() => new Worker(options).recurring({ command: "not a name", schedule })).toThrow(/^task\.command: /);
  });

  test("has a schedule that can be looked at beforehand", async () => {
    expect((await client.previewSchedule({ cron: "@hourly" }, { count: 3 })).times).toHaveLength(3);
    await expect(client.previewSchedule({ cron: "0 0 30 2 *" })).rejects.toMatchObject({
      name: "InvalidArgumentError",
      fields: [{ field: "schedule.cron" }],
    });
  });
});

test("a call of an API that nobody allowed names the field", async () => {
  const call = client.enqueueApi({ target: "nowhere", path: "/x" });
  await expect(call).rejects.toMatchObject({ name: "InvalidArgumentError", fields: [{ field: "api.target" }] });
});

describe("a worker", () => {
  test("that drains gives back what does not end, and another runs it without a spent attempt", async () => {
    fresh();
    const first = work({ long: (job) => stopped(job) }, { slots: 1 });
    const job = await client.enqueue("long", null, { queue });
    await expect.poll(() => first.runningCount).toBe(1);
    await first.stop({ grace: "200ms" });
    work({ long: (job) => job.attempt });
    expect(await client.wait(job)).toBe(1);
    expect((await client.listAttempts(job).all()).map((attempt) => attempt.outcome)).toEqual(["released", "completed"]);
  });

  test("refused for good rejects run", async () => {
    const worker = new Worker({ address, name: "\u0001", logger: silentLogger, handleSignals: false });
    worker.handle("x", () => null);
    const registered = worker.registered();
    await expect(worker.run()).rejects.toMatchObject({ name: "InvalidArgumentError" });
    await expect(registered).rejects.toMatchObject({ name: "InvalidArgumentError" });
  });

  test("switched off by HAULIER_WORKER_ENABLED only waits for its end", async () => {
    fresh();
    process.env.HAULIER_WORKER_ENABLED = "false";
    onTestFinished(() => {
      delete process.env.HAULIER_WORKER_ENABLED;
    });
    const worker = work({ off: () => null });
    const job = await client.enqueue("off", null, { queue });
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect((await client.get(job)).summary.state).toBe("queued");
    await worker.stop();
  });

  test("drains on SIGTERM and lets its process end", async () => {
    fresh();
    const script = `
      import { Worker } from "haulier";
      const worker = new Worker({ address: ${JSON.stringify(address)}, queues: ["${queue}"], drainTime: "3s" });
      worker.handle("slow", async () => { console.log("started"); await new Promise((r) => setTimeout(r, 300)); return "ended"; });
      await worker.run();
      console.log("left");
    `;
    const load = new URL("./load.mjs", import.meta.url).href;
    const child = spawn(process.execPath, ["--import", load, "--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let out = "";
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk.toString();
    });
    const exit = new Promise<number | null>((resolve) => child.once("exit", resolve));
    const job = await client.enqueue("slow", null, { queue });
    await expect.poll(() => out).toContain("started");
    child.kill("SIGTERM");
    expect(await exit).toBe(0);
    expect(out).toContain("left");
    expect(await client.wait(job)).toBe("ended");
  });

  test("periodic work runs again and again, and errors do not end it", async () => {
    fresh();
    const worker = work({});
    let runs = 0;
    const numbers: number[] = [];
    const errors: unknown[] = [];
    const periodic = worker.periodic("count", { period: "20ms", runAtStart: true }, ({ run }) => {
      runs++;
      errors.push(periodic.lastError);
      numbers.push(run);
      if (runs === 2) throw new Error("once");
    });
    await expect.poll(() => runs).toBeGreaterThan(4);
    expect(errors.slice(0, 4)).toEqual([undefined, undefined, new Error("once"), undefined]);
    expect(numbers.slice(0, 4)).toEqual([1, 2, 3, 4]);
    expect(periodic.lastError).toBeUndefined();
    expect(() => worker.background("count", {}, () => {})).toThrow(
      /^name: count is a periodic or background worker already/,
    );
    await periodic.stop();
    expect(periodic.runCount).toBe(runs);
    const at = runs;
    await new Promise((resolve) => setTimeout(resolve, 80));
    expect(runs).toBe(at);
    periodic.start();
    await expect.poll(() => runs).toBeGreaterThan(at);
  });

  test("periodic work that is started again before its run has ended does not overlap it", async () => {
    fresh();
    const worker = work({});
    let [now, most, runs] = [0, 0, 0];
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const periodic = worker.periodic("alone", { period: "10ms", runAtStart: true }, async () => {
      most = Math.max(most, ++now);
      if (runs++ === 0) await held;
      now--;
    });
    await expect.poll(() => runs).toBe(1);
    const stopped = periodic.stop();
    periodic.start();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(runs).toBe(1);
    release();
    await stopped;
    await expect.poll(() => runs).toBeGreaterThan(2);
    expect(most).toBe(1);
  });

  test("background work runs until it is stopped", async () => {
    fresh();
    const worker = work({});
    let ended = false;
    worker.background("loop", {}, async ({ signal }) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      ended = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    await worker.stop();
    expect(ended).toBe(true);
  });
});

describe("over a line that is cut", () => {
  async function cuttingProxy(): Promise<CuttingProxy> {
    const proxy = await CuttingProxy.start(address);
    onTestFinished(() => proxy.stop());
    return proxy;
  }

  test("a watcher misses no line", async () => {
    fresh();
    const proxy = await cuttingProxy();
    const near = connect({ address: proxy.address });
    const lines: string[] = [];
    work({
      lines: async (job) => {
        for (let line = 1; line <= 40; line++) {
          job.log.info(`line ${line}`);
          if (line % 8 === 0) await expect.poll(() => lines.length).toBe(line);
        }
      },
    });
    const job = await client.enqueue("lines", null, { queue });
    let cuts = 0;
    for await (const event of near.watch(job)) {
      if (event.kind !== "logs") continue;
      lines.push(...event.lines.map((line) => line.message));
      if (lines.length > 5 * (cuts + 1) && cuts < 4) {
        cuts++;
        proxy.cut();
      }
    }
    expect(cuts).toBe(4);
    expect(lines).toEqual(Array.from({ length: 40 }, (_, index) => `line ${index + 1}`));
  });

  test("a worker loses and repeats nothing", async () => {
    fresh();
    const proxy = await cuttingProxy();
    const runs = new Map<unknown, number>();
    work(
      {
        part: async (job, n: number) => {
          runs.set(n, (runs.get(n) ?? 0) + 1);
          job.log.info("x");
          await new Promise((resolve) => setTimeout(resolve, 10));
          return n;
        },
      },
      { address: proxy.address, slots: 5 },
    );
    let cuts = 0;
    proxy.at = (piece) => {
      if (piece % 30 < 29 || cuts === 8) return "pass";
      return ++cuts % 2 === 0 ? "cut before" : "cut after";
    };
    const jobs: EnqueuedJob[] = [];
    for (let n = 0; n < 60 || cuts < 8; n++) {
      const job = await client.enqueue("part", n, { queue });
      jobs.push(job);
      if (n >= 60) await client.wait(job);
    }
    await Promise.all(jobs.map(async (job, n) => expect(await client.wait(job)).toBe(n)));
    for (const job of jobs) expect(await client.listLogs(job).all()).toHaveLength(1);
    expect([...runs.values()].every((count) => count === 1)).toBe(true);
  });
});

describe("a server that is killed", () => {
  test("is found again by worker, enqueue and wait, and nothing runs twice", async () => {
    fresh();
    const server = await RealServer.start();
    onTestFinished(() => server.stop());
    const near = connect({ address: server.address });
    let runs = 0;
    work(
      {
        slow: async () => {
          runs++;
          await new Promise((resolve) => setTimeout(resolve, 1_000));
          return "done";
        },
      },
      { address: server.address },
    );
    const job = await near.enqueue("slow", null, { queue });
    const result = near.wait(job);
    await expect.poll(() => runs).toBe(1);
    await server.kill("SIGKILL");
    const second = near.enqueue("slow", null, { queue });
    await server.up();
    expect(await result).toBe("done");
    expect(await near.wait(await second)).toBe("done");
    expect(runs).toBe(2);
  });
});
