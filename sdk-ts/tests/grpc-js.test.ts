import { readFileSync } from "node:fs";
import { connect, silentLogger, Worker } from "haulier";
import { createTransport } from "haulier/grpc-js";
import { describe, expect, inject, test } from "vitest";
import { freePort } from "./real-server.js";

const address = inject("address");
const client = connect({ transport: createTransport({ address }) });
const queue = `grpc-js-${Date.now().toString(36)}`;

describe("over @grpc/grpc-js", () => {
  test("a client enqueues, watches and waits, and a worker works", async () => {
    const worker = new Worker({
      transport: createTransport({ address }),
      queues: [queue],
      logger: silentLogger,
      handleSignals: false,
    });
    worker.handle("echo", (job, request) => {
      job.log.info("line");
      return request;
    });
    const run = worker.run();
    const bytes = new Uint8Array([0, 255]);
    const job = await client.enqueue("echo", bytes, { queue });
    const kinds = new Set<string>();
    for await (const event of client.watch(job)) kinds.add(event.kind);
    expect([...kinds]).toEqual(expect.arrayContaining(["logs", "snapshot"]));
    const result = await client.wait(job);
    expect(result).toEqual(bytes);
    expect(Buffer.isBuffer(result)).toBe(false);
    await worker.stop();
    await run;
  });

  test("errors have their type, reason and fields", async () => {
    await expect(client.get("123456789")).rejects.toMatchObject({ name: "NotFoundError", reason: "JOB_NOT_FOUND" });
    await expect(client.enqueue("x", null, { priority: 99 })).rejects.toMatchObject({
      name: "InvalidArgumentError",
      fields: [{ field: "options.priority" }],
    });
    await expect(client.wait({ refId: "no such" })).rejects.toMatchObject({ reason: "JOB_NOT_FOUND" });
    await expect(client.enqueue("x", "x".repeat(17 * 1024 * 1024))).rejects.toMatchObject({
      reason: "MESSAGE_TOO_LARGE",
    });
  });

  test("a server that is away is a typed error", async () => {
    const transport = createTransport({ address: `127.0.0.1:${await freePort()}` });
    const away = connect({ transport, retryTime: "200ms" });
    await expect(away.enqueue("x")).rejects.toMatchObject({
      name: "UnavailableError",
      reason: "SERVER_UNREACHABLE",
      message: expect.stringContaining("ECONNREFUSED"),
    });
  });

  test("a call ends at its timeout and with its signal", async () => {
    const job = await client.enqueue("nobody", null, { queue });
    await expect(client.wait(job, { timeout: "100ms" })).rejects.toMatchObject({ name: "DeadlineExceededError" });
    const reason = new Error("enough");
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 50);
    await expect(client.wait(job, { signal: controller.signal })).rejects.toBe(reason);
    await expect(client.get(job, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test("an address that is none is refused at once", () => {
    expect(() => createTransport({ address: "not an address" })).toThrow(
      expect.objectContaining({ fields: [expect.objectContaining({ field: "address" })] }),
    );
  });
});

test("the package works without @grpc/grpc-js: nothing else imports it", () => {
  for (const file of ["index", "node", "worker", "client", "session", "testing", "thread", "web"]) {
    const text = readFileSync(new URL(`../src/${file}.ts`, import.meta.url), "utf8");
    expect(text).not.toMatch(/grpc-js/);
  }
});
