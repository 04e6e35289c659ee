// Run by run-tests in a clean folder with the packed package: every entry by `require`, one job, and the process ends by itself.
const assert = require("node:assert/strict");
const { connect, silentLogger, Worker } = require("haulier");
const { createTransport } = require("haulier/grpc-js");
const { FakeJob } = require("haulier/testing");
const { inThread } = require("haulier/thread");
const { connect: connectWeb } = require("haulier/web");

(async () => {
  const worker = new Worker({ transport: createTransport(), queues: ["cjs"], logger: silentLogger });
  worker.handle("triple", inThread("data:text/javascript,export default (job, n) => n * 3"));
  const run = worker.run();
  const client = connect({ transport: createTransport() });
  const job = await client.enqueue("triple", 14, { queue: "cjs" });
  assert.equal(await client.wait(job), 42);
  assert.equal((await connectWeb({ address: process.env.HAULIER_ADDRESS }).get(job)).result, 42);
  assert.equal((await new FakeJob({ request: 4 }).run((_, n) => n + 1)).result, 5);
  await worker.stop();
  await run;
  console.log("the package works by require, over grpc-js too");
})();
