import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createRouterTransport } from "@connectrpc/connect";
import { connect } from "haulier";
import { FakeJob } from "haulier/testing";
import { inThread } from "haulier/thread";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { JobService } from "../src/gen/haulier/v1/job_service_pb.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "haulier-thread-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let count = 0;
async function module(code: string): Promise<URL> {
  const file = join(folder, `handler-${count++}.mjs`);
  await writeFile(file, code);
  return pathToFileURL(file);
}

describe("a handler in a thread", () => {
  test("computes without blocking, and reports", async () => {
    const handler = inThread(
      await module(`
      export default async (job, { ms }) => {
        job.log.info("begin", { attempt: job.attempt });
        job.progress(0.5, "half way");
        await job.saveCheckpoint({ at: 1 });
        const until = Date.now() + ms;
        while (Date.now() < until);
        return { id: job.id, ms };
      };`),
    );
    const fake = new FakeJob({ id: "7", request: { ms: 200 } });
    let ticks = 0;
    const ticking = setInterval(() => ticks++, 10);
    expect(await fake.run(handler)).toEqual({ kind: "complete", result: { id: "7", ms: 200 }, enqueued: [] });
    clearInterval(ticking);
    expect(ticks).toBeGreaterThan(5);
    expect(fake.logs).toEqual([{ level: "info", message: "begin", fields: { attempt: "1" } }]);
    expect(fake.progress).toEqual([{ fraction: 0.5, status: "half way" }]);
    expect(fake.checkpoints).toEqual([{ at: 1 }]);
    expect(await new FakeJob({ request: { ms: 1 } }).run(handler)).toMatchObject({ kind: "complete" });
  });

  test("fails with the error that it threw", async () => {
    const handler = inThread(
      await module(`export default () => { throw Object.assign(new TypeError("no"), { code: "E1" }); };`),
    );
    expect(await new FakeJob().run(handler)).toMatchObject({
      kind: "fail",
      code: "E1",
      message: "no",
      stack: expect.stringContaining("handler-"),
    });
  });

  test("is stopped by its signal", async () => {
    const handler = inThread(
      await module(`
      export default (job) => new Promise((_, reject) => job.signal.addEventListener("abort", () => reject(job.signal.reason)));`),
    );
    const fake = new FakeJob();
    const run = fake.run(handler);
    setTimeout(() => fake.stop("drain"), 100);
    expect(await run).toMatchObject({ kind: "release" });
  });

  test("has the facts of its job, and enqueues through it", async () => {
    const handler = inThread(
      await module(`
      export default async (job) => {
        const { id } = await job.enqueue("child", { n: 1 }, { tag: "t" });
        job.enqueueOnComplete("after", { n: 2 }, { delay: "1s" });
        const refused = await job.enqueue("not a name").catch((error) => error.reason);
        return { id, refused, parent: job.parents[0].result, tag: job.options.tag, crashes: job.crashes };
      };`),
    );
    const sent: unknown[] = [];
    const transport = createRouterTransport(({ rpc }) =>
      rpc(JobService.method.enqueueCommand, (request) => {
        sent.push([request.command, request.options?.tag, request.options?.parentId, request.options?.userId]);
        return { jobId: 9n, refId: "r", created: true, state: 3 };
      }),
    );
    const client = connect({ transport });
    const fake = new FakeJob({ id: "7", userId: "ann", options: { tag: "mine" }, parents: [{ result: 5 }], client });
    expect(await fake.run(handler)).toEqual({
      kind: "complete",
      result: { id: "9", refused: "INVALID_FIELD", parent: 5, tag: "mine", crashes: 0 },
      enqueued: [{ command: "after", request: { n: 2 }, localKey: "" }],
    });
    expect(sent).toEqual([["child", "t", 7n, "ann"]]);
  });

  test("that reports what cannot be reported fails", async () => {
    const handler = inThread(await module(`export default (job) => { job.progress("half"); return 1; };`));
    expect(await new FakeJob().run(handler)).toMatchObject({ kind: "fail", message: expect.stringContaining("half") });
  });

  test("is ended when it does not stop", async () => {
    const handler = inThread(await module(`export default () => { for (;;); };`));
    const fake = new FakeJob({ timeout: "200ms" });
    expect(await fake.run(handler)).toMatchObject({ kind: "fail", reason: "timeout" });
  });

  test("whose module is wrong fails with a sentence", async () => {
    const missing = inThread(new URL("./nowhere.mjs", pathToFileURL(`${folder}/`)));
    expect(await new FakeJob().run(missing)).toMatchObject({ kind: "fail", code: "ERR_MODULE_NOT_FOUND" });
    const other = inThread(await module("export const x = 1;"));
    expect(await new FakeJob().run(other)).toMatchObject({
      kind: "fail",
      message: expect.stringContaining("has no function default"),
    });
  });
});
