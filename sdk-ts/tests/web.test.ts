import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { silentLogger, Worker } from "haulier";
import { connect } from "haulier/web";
import { build } from "tsdown";
import { beforeAll, describe, expect, inject, onTestFinished, test } from "vitest";

const address = inject("address");
const queue = `web-${Date.now().toString(36)}`;
/** Nothing but the page is asked for. */
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const CHROMIUM = process.env.HAULIER_CHROMIUM || "/usr/bin/chromium";

beforeAll(() => {
  const worker = new Worker({ address, queues: [queue], logger: silentLogger, handleSignals: false });
  worker.handle("web", async (job, request) => {
    job.log.info("from the worker");
    job.progress(0.5, "half way");
    await new Promise((resolve) => setTimeout(resolve, 100));
    return { answer: request };
  });
  const run = worker.run();
  return async () => {
    await worker.stop();
    await run;
  };
});

describe("the client half over gRPC-Web", () => {
  test("enqueues, watches, lists and fails with typed errors through fetch", async () => {
    const client = connect({ address });
    const job = await client.enqueue("web", { n: 1 }, { queue });
    const kinds = new Set<string>();
    for await (const event of client.watch(job)) kinds.add(event.kind);
    expect([...kinds].sort()).toEqual(expect.arrayContaining(["logs", "snapshot"]));
    expect(await client.wait(job)).toEqual({ answer: { n: 1 } });
    expect((await client.listJobs({ queue }).all()).map((found) => found.id)).toEqual([job.id]);
    await expect(client.get("123456789")).rejects.toMatchObject({ name: "NotFoundError", reason: "JOB_NOT_FOUND" });
    await expect(client.enqueue("web", null, { priority: 99 })).rejects.toMatchObject({
      fields: [{ field: "options.priority" }],
    });
  });

  test("finds no server with a typed error", async () => {
    const away = connect({ address: "127.0.0.1:1", retryTime: 0 });
    await expect(away.get("1")).rejects.toMatchObject({ name: "UnavailableError", reason: "SERVER_UNREACHABLE" });
  });

  test("is a bundle that needs nothing of Node", async () => {
    const text = await bundle();
    expect(text).not.toMatch(/(from|import|require\()\s*"(node:|fs|http2?|os)"?/);
  });

  test("works in Chromium", async () => {
    if (!existsSync(CHROMIUM)) {
      throw new Error(`no browser at ${CHROMIUM}: run 'apt-get install chromium', or set HAULIER_CHROMIUM`);
    }
    const { chromium } = await import("playwright-core");
    const text = await bundle();
    // The page and the server have one origin, as the admin UI has it: what is not the page is passed on.
    const site = createServer((request, answer): void => {
      if (request.url === "/" || request.url === "/web.js") {
        const isPage = request.url === "/";
        answer.setHeader("content-type", isPage ? "text/html" : "text/javascript");
        answer.end(isPage ? PAGE : text);
        return;
      }
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", async () => {
        const headers = Object.entries(request.headers).filter(([name]) =>
          /^(content-type|x-|grpc-|accept)/.test(name),
        ) as [string, string][];
        const passed = await fetch(`http://${address}${request.url}`, {
          method: "POST",
          headers,
          body: Buffer.concat(chunks),
        });
        answer.writeHead(passed.status, Object.fromEntries(passed.headers));
        for await (const chunk of passed.body ?? []) answer.write(chunk);
        answer.end();
      });
    });
    await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve));
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    onTestFinished(async () => {
      await browser.close();
      site.closeAllConnections();
      site.close();
    });
    const page = await browser.newPage();
    const bound = site.address();
    await page.goto(`http://127.0.0.1:${typeof bound === "object" && bound ? bound.port : 0}/`);
    // A text, since vitest rewrites the imports of functions.
    const seen = (await page.evaluate(`run(${JSON.stringify(queue)})`)) as { kinds: string[]; jobs: string[] };
    expect(seen).toMatchObject({ result: { answer: { n: 2 } }, missing: "JOB_NOT_FOUND" });
    expect(seen.kinds).toEqual(expect.arrayContaining(["logs", "snapshot"]));
    expect(seen.jobs).toContain("completed");
  });
});

/** What a page does with the client half. */
const PAGE = `<!doctype html><title>test</title>
<script type="module">
  import { connect } from "/web.js";
  window.run = async (queue) => {
    const client = connect();
    const tag = queue + "-page";
    const jobs = [];
    const stop = new AbortController();
    const watching = (async () => {
      for await (const event of client.watchJobs({ tag }, { signal: stop.signal })) {
        if (event.kind === "job") jobs.push(event.job.state);
        if (jobs.at(-1) === "completed") return;
      }
    })();
    const job = await client.enqueue("web", { n: 2 }, { queue, tag });
    const kinds = [];
    for await (const event of client.watch(job)) kinds.push(event.kind);
    const missing = await client.get("123456789").catch((error) => error.reason);
    const result = await client.wait(job);
    await Promise.race([watching, new Promise((resolve) => setTimeout(resolve, 30000))]);
    stop.abort();
    return { result, kinds, missing, jobs };
  };
</script>`;

let bundled: Promise<string> | undefined;

/** The browser entry with all that it needs in one file. */
function bundle(): Promise<string> {
  bundled ??= (async () => {
    const outDir = await mkdtemp(join(tmpdir(), "haulier-web-"));
    try {
      await build({
        config: false,
        entry: [resolve(import.meta.dirname, "../src/web.ts")],
        outDir,
        format: "esm",
        platform: "browser",
        dts: false,
        logLevel: "error",
        deps: { alwaysBundle: [/.*/] },
      });
      return await readFile(join(outDir, "web.js"), "utf8").catch(() => readFile(join(outDir, "web.mjs"), "utf8"));
    } finally {
      await rm(outDir, { recursive: true, force: true });
    }
  })();
  return bundled;
}
