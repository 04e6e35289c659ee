// Run by run-tests in a clean folder with the packed package: plain Node, every entry, one job, and the process ends by itself.
import assert from "node:assert/strict";
import { connect, defineCommand, silentLogger, Worker } from "haulier";
import { FakeJob } from "haulier/testing";
import { inThread } from "haulier/thread";
import { connect as connectWeb } from "haulier/web";

const client = connect(); // retries until the server is up
const double = defineCommand({ name: "double" });
const worker = new Worker({ logger: silentLogger });
worker.handle(double, (job, n) => {
  job.log.info("doubling");
  return n * 2;
});
const run = worker.run();
const job = await client.enqueue(double, 21);
assert.equal(await client.wait(job), 42);
const web = connectWeb({ address: process.env.HAULIER_ADDRESS });
assert.equal((await web.get(job)).result, 42);
const outcome = await new FakeJob({ request: 4 }).run(double.handle((_, n) => n + 1));
assert.deepEqual(outcome, { kind: "complete", result: 5, enqueued: [] });
assert.equal(typeof inThread("data:text/javascript,export default () => 1"), "function");
process.kill(process.pid, "SIGTERM");
await run;
console.log("the package works");
