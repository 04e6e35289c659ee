import { Cancelled, type Job, silentLogger, Worker, type WorkerOptions } from "haulier";
import { inThread } from "haulier/thread";
import { afterEach, describe, expect, test } from "vitest";
import { FakeServer } from "./fake-server.js";

const started: { worker: Worker; run: Promise<void> }[] = [];
const servers: FakeServer[] = [];

afterEach(async () => {
  await Promise.all(started.splice(0).map(({ worker }) => worker.stop({ grace: "1ms" })));
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

async function fakeServer(): Promise<FakeServer> {
  const server = await FakeServer.start();
  servers.push(server);
  return server;
}

function work(
  server: FakeServer,
  handler: (job: Job, request: unknown) => unknown,
  options: WorkerOptions = {},
): Worker {
  const worker = new Worker({
    address: server.address,
    logger: silentLogger,
    handleSignals: false,
    slots: 4,
    ...options,
  });
  worker.handle("work", handler);
  started.push({ worker, run: worker.run() });
  return worker;
}

/** The next job is promised to start within 5 s; three times that is a failure. */
const NEXT_JOB_MS_MAX = 15_000;
const ended = (server: FakeServer) => () => server.jobs.every((job) => job.state === "ended");

async function busyHandler(job: Job, request: unknown): Promise<unknown> {
  job.log.info("begin");
  job.progress(0.5, "half way");
  await job.saveCheckpoint({ half: request });
  job.log.info("end");
  return request;
}

/** Every call and stream message is a point at which all connections may be cut. */
describe("after a cut at any point of the protocol", () => {
  const CUTS = Array.from({ length: 26 }, (_, index) => index);
  test.concurrent.each(CUTS)(
    "number %i, every job completes once, with all its log lines, and the next starts in 5 s",
    async (cut) => {
      const server = await FakeServer.start();
      let runs = 0;
      const worker = new Worker({ address: server.address, logger: silentLogger, handleSignals: false, slots: 4 });
      worker.handle("work", (job, request) => {
        runs += 1;
        return busyHandler(job, request);
      });
      let left = cut;
      server.at = () => (left-- === 0 ? "cut" : "pass");
      server.enqueue(1);
      server.enqueue(2);
      const run = worker.run();
      try {
        await server.until(ended(server));
        await server.until(() => left < 0, 15_000); // long polls and heartbeats go on until the cut comes
        const next = server.enqueue(3);
        await server.until(() => next.state === "ended", NEXT_JOB_MS_MAX);
        for (const job of server.jobs) {
          expect(job.outcomes.map((outcome) => outcome.outcome.case)).toEqual(["complete"]);
          expect(job.logs).toEqual(["begin", "end"]);
          expect(job.checkpoint).toBe(`{"half":${job.request}}`);
          expect(job.gaveBack).toBeLessThanOrEqual(1);
        }
        expect(runs).toBe(3); // an answer that was lost is asked for again or given back, never run twice
        expect(server.violations).toEqual([]);
      } finally {
        await worker.stop({ grace: "1ms" });
        await run;
        await server.stop();
      }
    },
    60_000,
  );
});

describe("claims", () => {
  test("raise their sequence with every answer, empty or not, and acknowledge the last that brought jobs", async () => {
    const server = await fakeServer();
    work(server, () => null, { slots: 1 });
    server.enqueue();
    await server.until(ended(server));
    await server.until(() => server.sequences.length >= 3);
    expect(server.sequences.slice(0, 3)).toEqual(["1/0", "2/1", "3/1"]);
  });

  test("repeat a sequence whose answer was lost", async () => {
    const server = await fakeServer();
    server.heartbeatMs = 60_000;
    let cut = false;
    server.at = (point) => {
      if (point !== "claim out" || cut) return "pass";
      cut = true;
      return "cut";
    };
    server.enqueue();
    work(server, () => null);
    await server.until(ended(server));
    // A new stream begins with a heartbeat, which may or may not come before the repeat: then it goes on instead.
    expect(["1/0 1/0", "1/0 2/0"]).toContain(server.sequences.slice(0, 2).join(" "));
    expect(server.violations).toEqual([]);
    expect(server.jobs[0]?.outcomes).toHaveLength(1);
  });

  test("never ask for more than the free slots", async () => {
    const server = await fakeServer();
    let now = 0;
    let most = 0;
    for (let index = 0; index < 20; index++) server.enqueue(index);
    work(
      server,
      async () => {
        most = Math.max(most, ++now);
        await new Promise((resolve) => setTimeout(resolve, 5));
        now--;
      },
      { slots: 3 },
    );
    await server.until(ended(server));
    expect(most).toBe(3);
  });

  test("the receipt of an answer is told before its first handler starts", async () => {
    const server = await fakeServer();
    let received = false;
    server.at = (point) => {
      if (point === "report in" && server.jobs[0]?.state === "leased") received = true;
      return "pass";
    };
    const seen: boolean[] = [];
    work(server, async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      seen.push(received);
    });
    server.enqueue();
    await server.until(ended(server));
    expect(seen).toEqual([true]);
  });
});

describe("reports", () => {
  test("logs beyond the credit wait for more of it, and the outcome for them", async () => {
    const server = await fakeServer();
    server.creditBytes = 2_000;
    work(server, (job) => {
      for (let line = 0; line < 500; line++) job.log.info(`line ${line} ${"x".repeat(100)}`);
    });
    const job = server.enqueue();
    await server.until(ended(server));
    expect(job.logs).toHaveLength(500);
    expect(job.logs[499]).toMatch(/^line 499 /);
    expect(server.violations).toEqual([]);
  });

  test("many outcomes travel in few messages", async () => {
    const server = await fakeServer();
    for (let index = 0; index < 400; index++) server.enqueue(index);
    work(server, () => null, { slots: 200 });
    await server.until(ended(server));
    expect(server.points.filter((point) => point === "report in").length).toBeLessThan(40);
    expect(server.points.filter((point) => point === "claim in").length).toBeLessThan(20);
  });

  test("a stream that takes heartbeats and answers none is given up", async () => {
    const server = await fakeServer();
    server.heartbeatMs = 100;
    server.answersBeats = false;
    work(server, () => null);
    await server.until(() => server.points.filter((point) => point === "report open").length >= 3);
  });
});

describe("sessions", () => {
  test("a lost session is registered anew and works on", async () => {
    const server = await fakeServer();
    work(server, () => null);
    server.enqueue();
    await server.until(ended(server));
    server.loseSessions();
    const next = server.enqueue();
    await server.until(() => next.state === "ended", NEXT_JOB_MS_MAX);
    expect(new Set(server.registrations).size).toBe(2);
  });

  test("a handler whose session is lost is told, and what it returns is dropped", async () => {
    const server = await fakeServer();
    const reasons: Cancelled[] = [];
    let attempts = 0;
    work(server, async (job) => {
      attempts += 1;
      if (attempts > 1) return "second";
      await new Promise((resolve) => job.signal.addEventListener("abort", resolve));
      reasons.push(job.signal.reason as Cancelled);
      return "first";
    });
    const job = server.enqueue();
    await server.until(() => attempts === 1);
    server.loseSessions();
    await server.until(ended(server));
    expect(reasons.map((reason) => reason.kind)).toEqual(["lease_lost"]);
    const results = job.outcomes.map(({ outcome }) => outcome.case === "complete" && outcome.value.result?.kind.value);
    expect(results).toEqual(['"second"']);
  });

  test("a server that is away for a while is found again", async () => {
    const server = await fakeServer();
    work(server, () => null);
    server.enqueue();
    await server.until(ended(server));
    await server.stop();
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await server.up();
    const next = server.enqueue();
    await server.until(() => next.state === "ended", NEXT_JOB_MS_MAX);
  });
});

describe("a handler that computes without awaiting", () => {
  const busy = (ms: number) => {
    const until = performance.now() + ms;
    while (performance.now() < until);
  };

  test("in a thread keeps no heartbeat waiting, however long it takes", async () => {
    const server = await fakeServer();
    server.heartbeatMs = 100;
    const beats: number[] = [];
    server.at = (point) => {
      if (point === "report in") beats.push(performance.now());
      return "pass";
    };
    const code = `const busy = ${busy}; export default (_, ms) => { busy(ms); return "done"; }`;
    work(server, inThread(`data:text/javascript,${encodeURIComponent(code)}`));
    server.enqueue(4_000);
    await server.until(ended(server));
    const gaps = beats.slice(1).map((at, index) => at - (beats[index] ?? 0));
    expect(Math.max(...gaps)).toBeLessThan(3_000);
    expect(beats.length).toBeGreaterThan(5);
  });

  test("on the main thread holds up the worker no longer than it takes, and its job completes", async () => {
    const server = await fakeServer();
    server.heartbeatMs = 200;
    work(server, () => busy(2_000));
    const job = server.enqueue();
    await server.until(() => job.state === "ended");
    const next = server.enqueue();
    await server.until(() => next.state === "ended", NEXT_JOB_MS_MAX);
    expect(server.registrations).toHaveLength(1);
    expect(server.points.filter((point) => point === "report open")).toHaveLength(1);
    expect(server.violations).toEqual([]);
  });
});

describe("stop signals", () => {
  const until = (job: Job) =>
    new Promise((_, reject) => job.signal.addEventListener("abort", () => reject(job.signal.reason)));
  const kinds = (server: FakeServer) => server.jobs.flatMap((job) => job.outcomes.map(({ outcome }) => outcome.case));

  test("obeying a cancel ends the job as cancelled, with the reason", async () => {
    const server = await fakeServer();
    const seen: Cancelled[] = [];
    let begun = false;
    work(server, async (job) => {
      begun = true;
      job.signal.addEventListener("abort", () => seen.push(job.signal.reason as Cancelled));
      await until(job);
    });
    const job = server.enqueue();
    await server.until(() => begun);
    const value = { lease: job.lease, reason: "not needed", grace: { seconds: 30n, nanos: 0 }, kind: 1 };
    for (let repeat = 0; repeat < 3; repeat++) {
      server.direct({ case: "cancel", value });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await server.until(ended(server));
    expect(kinds(server)).toEqual(["cancelled"]);
    expect(seen).toEqual([new Cancelled("not needed", "cancel", 30_000)]);
  });

  test("a handler that returns after a cancel has completed", async () => {
    const server = await fakeServer();
    let begun = false;
    work(server, async (job) => {
      begun = true;
      await until(job).catch(() => {});
      return "done all the same";
    });
    const job = server.enqueue();
    await server.until(() => begun);
    server.direct({ case: "cancel", value: { lease: job.lease, kind: 1 } });
    await server.until(ended(server));
    expect(kinds(server)).toEqual(["complete"]);
  });

  test("a timeout is measured here, and obeying it is a failed attempt", async () => {
    const server = await fakeServer();
    work(server, until);
    const job = server.enqueue(null, { timeout: { seconds: 0n, nanos: 50_000_000 } });
    await server.until(ended(server));
    const outcome = job.outcomes[0]?.outcome;
    expect(outcome?.case === "fail" && outcome.value).toMatchObject({ code: "TIMEOUT", reason: 3 });
  });

  test("a lost lease stops the handler, and its slot is free again", async () => {
    const server = await fakeServer();
    let begun = false;
    work(
      server,
      (_, request) => {
        begun = true;
        return request === "hangs" ? new Promise(() => {}) : null;
      },
      { slots: 2 },
    );
    const job = server.enqueue("hangs");
    await server.until(() => begun);
    server.revoke(job);
    const next = server.enqueue();
    await server.until(() => next.state === "ended");
    expect(job.outcomes).toEqual([]);
  });

  test("strict jobs stop when the lease is in doubt, others run on and are marked", async () => {
    const server = await fakeServer();
    server.leaseMs = 1_500;
    server.heartbeatMs = 450;
    const stopped: string[] = [];
    const doubts: boolean[] = [];
    let begun = 0;
    work(server, async (job, request) => {
      begun++;
      if (job.strict) {
        job.signal.addEventListener("abort", () => stopped.push((job.signal.reason as Cancelled).kind));
        if (job.attempt === 1) await until(job);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 2_400));
      doubts.push(job.inDoubt, job.signal.aborted);
      return request;
    });
    const strict = server.enqueue("strict", { strict: true });
    server.enqueue("plain");
    await server.until(() => begun === 2);
    server.answersBeats = false;
    await server.until(() => stopped.length > 0 && doubts.length > 0);
    server.answersBeats = true;
    await server.until(ended(server));
    expect(stopped).toEqual(["in_doubt"]);
    expect(doubts).toEqual([true, false]);
    expect(strict.outcomes.map(({ outcome }) => outcome.case)).toEqual(["release", "complete"]);
  });

  test("a drain lets short jobs end, stops long ones, and gives back what does not stop", async () => {
    const server = await fakeServer();
    let begun = 0;
    const worker = work(server, (job, request) => {
      begun++;
      if (request === "short") return new Promise((resolve) => setTimeout(resolve, 50));
      return request === "obeys" ? until(job) : new Promise(() => {});
    });
    const jobs = ["short", "obeys", "hangs"].map((request) => server.enqueue(request));
    await server.until(() => begun === jobs.length);
    await worker.stop({ grace: "1s" });
    const outcomes = jobs.map((job) => job.outcomes.map(({ outcome }) => outcome.case));
    expect(outcomes).toEqual([["complete"], ["release"], ["release"]]);
    expect(server.points).toContain("unregister");
  });

  test("an operator's drain ends the worker", async () => {
    const server = await fakeServer();
    work(server, () => null);
    server.enqueue();
    await server.until(ended(server));
    server.direct({ case: "drain", value: { reason: "upgrade", grace: { seconds: 1n, nanos: 0 } } });
    await Promise.all(started.map(({ run }) => run));
  });
});
