import { type Client, connect, silentLogger, Worker, type WorkerOptions } from "haulier";
import { createTransport } from "haulier/grpc-js";
import { afterAll, describe, expect, inject, test } from "vitest";
import { figure } from "./figures.js";
import { CuttingProxy, type Fate } from "./proxy.js";

const address = inject("address");
const client = connect({ address });

/** The next job is promised to start within 5 s; three times that is a failure. */
const NEXT_JOB_MS_MAX = 15_000;
/** The slowest that a job was, a cut in the middle. */
let slowest = 0;
afterAll(() =>
  figure(
    `TypeScript: the slowest job with a cut at any piece of bytes took ${Math.round(slowest)} ms (promised 5,000)`,
  ),
);

/** Every piece of bytes that a worker and the real server exchange is cut off once: before it passes, or after. */
const transports: [string, (at: string) => WorkerOptions][] = [
  ["connect-node", (at: string) => ({ address: at })],
  ["grpc-js", (at: string) => ({ transport: createTransport({ address: at }) })],
];

describe.each(transports)("a worker over %s whose line is cut", (name, reach) => {
  const CUTS = Array.from({ length: 24 }, (_, piece) =>
    (["cut before", "cut after"] as const).map((fate): [Fate, number] => [fate, piece]),
  ).flat();

  test.concurrent.each(CUTS)(
    "%s piece %i runs every job once, and the next within 5 s",
    async (fate, piece) => {
      const queue = `cut-${name}-${fate.replace(" ", "-")}-${piece}-${Date.now().toString(36)}`;
      const proxy = await CuttingProxy.start(address);
      let isCut = false;
      proxy.at = (at) => {
        if (at !== piece) return "pass";
        isCut = true;
        return fate;
      };
      const runs: unknown[] = [];
      const worker = new Worker({
        ...reach(proxy.address),
        queues: [queue],
        logger: silentLogger,
        handleSignals: false,
      });
      worker.handle("work", async (job, n) => {
        runs.push(n);
        job.log.info("begin");
        await job.saveCheckpoint({ n });
        job.log.info("end");
        return n;
      });
      const jobs = [await client.enqueue("work", 1, { queue }), await client.enqueue("work", 2, { queue })];
      const run = worker.run();
      try {
        for (let n = 3; !isCut || n === 3; n++) jobs.push(await enqueueAndWait(client, n, queue));
        jobs.push(await enqueueAndWait(client, 100, queue));
        for (const job of jobs) {
          await client.wait(job, { timeout: NEXT_JOB_MS_MAX });
          const lines = await client.listLogs(job).all();
          expect(lines.map(({ message }) => message)).toEqual(["begin", "end"]);
        }
        expect(new Set(runs).size).toBe(runs.length);
        expect(runs).toHaveLength(jobs.length);
      } finally {
        await worker.stop({ grace: "1ms" });
        await run;
        proxy.stop();
      }
    },
    90_000,
  );
});

async function enqueueAndWait(client: Client, n: number, queue: string) {
  const job = await client.enqueue("work", n, { queue });
  const begin = performance.now();
  expect(await client.wait(job, { timeout: NEXT_JOB_MS_MAX })).toBe(n);
  slowest = Math.max(slowest, performance.now() - begin);
  return job;
}
