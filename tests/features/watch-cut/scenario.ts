// A watch that is cut goes on where it was: see README.md.
import { createServer, connect as dial, type Socket } from "node:net";
import { connect, type WatchEvent } from "haulier";
import { expect, expectThat, makeWorker, pause, play, working } from "../stage.js";

/** A TCP proxy that drops all its connections on command. */
class CuttingProxy {
  readonly #sockets = new Set<Socket>();
  connections = 0;
  #port = 0;

  static async start(target: string): Promise<CuttingProxy> {
    const proxy = new CuttingProxy();
    const at = target.lastIndexOf(":");
    const server = createServer((near) => {
      proxy.connections++;
      const far = dial(Number(target.slice(at + 1)), target.slice(0, at));
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        proxy.#sockets.add(one);
        one.on("error", () => {});
        one.on("close", () => {
          proxy.#sockets.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    proxy.#port = typeof address === "object" && address ? address.port : 0;
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  drop(): void {
    for (const socket of [...this.#sockets]) socket.destroy();
  }
}

play("watch-cut", async (client, queue) => {
  const worker = makeWorker(queue, {
    talk: async (job) => {
      for (let line = 1; line <= 50; line++) {
        job.log.info(`line ${line}`);
        await pause(40);
      }
      return { lines: 50 };
    },
  });
  const proxy = await CuttingProxy.start((process.env.HAULIER_ADDRESS ?? "").replace(/^https?:\/\//, ""));
  await working(worker, async () => {
    const job = await client.enqueue("talk", undefined, { queue });
    const lines: string[] = [];
    const kinds: string[] = [];
    let last: WatchEvent | undefined;
    const cutAt = [10, 25];
    for await (const event of connect({ address: proxy.address }).watch(job)) {
      last = event;
      kinds.push(event.kind);
      if (event.kind === "logs") lines.push(...event.lines.map(({ message }) => message));
      if (lines.length >= (cutAt[0] ?? Number.POSITIVE_INFINITY)) {
        cutAt.shift();
        proxy.drop();
      }
    }
    expect(
      "the lines",
      lines,
      Array.from({ length: 50 }, (_, index) => `line ${index + 1}`),
    );
    expectThat(!kinds.includes("gap"), "expected no gap event, saw one");
    const outcome = last?.kind === "snapshot" ? [last.job.summary.state, last.job.result] : last?.kind;
    expect("the last event", outcome, ["completed", { lines: 50 }]);
    expectThat(proxy.connections >= 3, `expected at least 3 connections, the proxy saw ${proxy.connections}`);
  });
});
