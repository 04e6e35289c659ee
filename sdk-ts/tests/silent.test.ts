import { connect, type NodeConnectOptions, silentLogger, Worker } from "haulier";
import { createTransport } from "haulier/grpc-js";
import { describe, expect, inject, test } from "vitest";
import { CuttingProxy } from "./proxy.js";

const address = inject("address");
const client = connect({ address });

const transports: [string, (at: string) => NodeConnectOptions][] = [
  ["connect-node", (at) => ({ address: at })],
  ["grpc-js", (at) => ({ transport: createTransport({ address: at }) })],
];

// A line that nobody cuts and nothing passes any more, as when a router forgets it. A ping every 10 s, which may take 5 s, finds
// out; three times that is a failure.
describe.concurrent.each(transports)("a line over %s that falls silent", (name, reach) => {
  test("is found out by worker, watch and call, which go on over another", { timeout: 90_000 }, async () => {
    const line = await lineOf(`silent-${name}`, reach);
    const { near, queue, proxy } = line;
    try {
      const watched = await client.enqueue("steps", null, { queue });
      const lines: string[] = [];
      const watching = (async () => {
        for await (const event of near.watch(watched)) {
          if (event.kind === "logs") lines.push(...event.lines.map(({ message }) => message));
        }
      })();
      await expect.poll(() => lines).toEqual(["before"]);
      const before = proxy.connections;
      proxy.at = (_, __, connection) => (connection > before ? "pass" : "swallow");
      const begin = performance.now();
      const stored = await near.enqueue("steps", null, { queue });
      line.goOn();
      await client.wait(stored, { timeout: "45s" });
      await watching;
      expect(performance.now() - begin).toBeLessThan(45_000);
      expect(lines).toEqual(["before", "after"]);
    } finally {
      await line.stop();
    }
  });

  test("and is silent for others too at first is left for one that speaks", {
    timeout: 120_000,
  }, async () => {
    const line = await lineOf(`long-silent-${name}`, reach);
    const { queue, proxy } = line;
    try {
      line.goOn();
      await client.wait(await client.enqueue("steps", null, { queue }), { timeout: "15s" });
      const before = proxy.connections;
      proxy.at = () => "swallow";
      await expect.poll(() => proxy.connections, { timeout: 45_000 }).toBeGreaterThan(before); // it has found out
      const heard = proxy.connections;
      proxy.at = (_, __, connection) => (connection > heard ? "pass" : "swallow");
      const job = await client.enqueue("steps", null, { queue });
      await client.wait(job, { timeout: "60s" });
    } finally {
      await line.stop();
    }
  });
});

/** A worker, and a client, each with a connection of its own over one proxy. Its handler waits for `goOn` between two lines. */
async function lineOf(name: string, reach: (at: string) => NodeConnectOptions) {
  const queue = `${name}-${Date.now().toString(36)}`;
  const proxy = await CuttingProxy.start(address);
  let goOn = () => {};
  const going = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const options = { queues: [queue], logger: silentLogger, handleSignals: false };
  const worker = new Worker({ ...reach(proxy.address), ...options });
  worker.handle("steps", async (job) => {
    job.log.info("before");
    await going;
    job.log.info("after");
  });
  const run = worker.run();
  const stop = async () => {
    goOn();
    await worker.stop({ grace: "1ms" });
    await run;
    proxy.stop();
  };
  return { near: connect(reach(proxy.address)), queue, proxy, goOn, stop };
}
