import { readFileSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import { type } from "arktype";
import {
  Cancelled,
  connect,
  defineCommand,
  HaulierError,
  type Job,
  NonRetryable,
  NotFoundError,
  Payload,
  RetryAfter,
  VERSION,
  Worker,
} from "haulier";
import { FakeJob } from "haulier/testing";
import * as v from "valibot";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { type Duration, durationMs, durationOfMs, msOfDuration } from "../src/duration.js";
import { optionsMessage, optionsOf } from "../src/options.js";
import { backoffMs } from "../src/retry.js";
import { baseUrl } from "../src/transport.js";

test("the version is that of package.json", () => {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  expect(VERSION).toBe(version);
});

describe("durations", () => {
  test.each<[Duration, number]>([
    [1500, 1500],
    ["250ms", 250],
    ["1.5s", 1500],
    ["10m", 600_000],
    ["2h", 7_200_000],
    ["7d", 604_800_000],
  ])("%s is %i ms", (duration, ms) => expect(durationMs(duration, "delay")).toBe(ms));
  test.each(["10", "10 m", "-1s", -1, Number.NaN, null])("%s is refused with its field", (duration) => {
    expect(() => durationMs(duration as Duration, "delay")).toThrow(/^delay: .* is no duration/);
  });
  test("survive the wire", () => {
    for (const ms of [0, 0.25, 999, 1_000.5, 2_592_000_000]) expect(msOfDuration(durationOfMs(ms))).toBeCloseTo(ms, 5);
  });
});

describe("options", () => {
  test("survive the wire", () => {
    const options = {
      refId: "r",
      refIdPolicy: "return_existing",
      queue: "q",
      worker: "w",
      workerOrder: "relaxed",
      priority: 20,
      runAfter: new Date("2026-12-01T10:00:00Z"),
      expireTime: new Date("2026-12-02T10:00:00Z"),
      timeout: 5_000,
      retryPolicy: {
        profile: "abp",
        retryLimit: 0,
        crashLimit: 1,
        backoff: "linear",
        firstDelay: 100,
        factor: 3,
        maxDelay: 900,
        giveUpAfter: 10_000,
      },
      dependsOn: [
        { id: "7", condition: "finished" },
        { refId: "x", condition: "success" },
        { localKey: "k", condition: "failure" },
      ],
      strict: true,
      callback: { command: "c", args: { a: "b" } },
      replyTo: "PUT https://example.org/x",
      replyMode: "carry",
      replyBody: "envelope",
      replyOnSuccessOnly: true,
      tag: "t",
      batchId: "b",
      parentId: "9007199254740993",
      userId: "u",
      userClaims: { role: "admin" },
      createdBy: "me",
      args: { k: "v" },
      traceparent: "00-1",
      tracestate: "s",
    } as const;
    expect(optionsOf(optionsMessage(options))).toEqual(options);
  });
  test.each([
    [{ priority: 1.5 }, "options.priority"],
    [{ priority: "urgent" }, "options.priority"],
    [{ backoff: "x" }, "options.backoff"],
    [{ retryPolicy: { backoff: "cubic" } }, "options.retryPolicy.backoff"],
    [{ dependsOn: "12a" }, "options.dependsOn[0]"],
    [{ dependsOn: ["0"] }, "options.dependsOn[0]"],
    [{ parentId: "-1" }, "options.parentId"],
    [{ runAfter: new Date(Number.NaN) }, "options.runAfter"],
    [{ runAfter: "tomorrow" }, "options.runAfter"],
    [{ queue: 5 }, "options.queue"],
    [{ worker: null }, "options.worker"],
    [{ strict: "yes" }, "options.strict"],
    [{ replyOnSuccessOnly: 1 }, "options.replyOnSuccessOnly"],
    [{ args: { a: 1 } }, "options.args.a"],
    [{ userClaims: ["admin"] }, "options.userClaims"],
    [{ retryPolicy: 3 }, "options.retryPolicy"],
    [{ retryPolicy: { retryLimit: "5" } }, "options.retryPolicy.retryLimit"],
    [{ retryPolicy: { factor: Number.NaN } }, "options.retryPolicy.factor"],
    [{ callback: {} }, "options.callback.command"],
    [{ callback: { command: "x", args: { n: 1 } } }, "options.callback.args.n"],
    [{ dependsOn: [7] }, "options.dependsOn[0]"],
    [{ dependsOn: { localKey: 7 } }, "options.dependsOn[0].localKey"],
    [{ timeout: "soon" }, "options.timeout"],
    [{ colour: "red" }, "options.colour"],
  ])("%j names the field that is wrong", (options, field) => {
    const make = () => optionsMessage(options as never);
    expect(make).toThrow(
      expect.objectContaining({ reason: "INVALID_FIELD", fields: [expect.objectContaining({ field })] }),
    );
  });
});

describe("what is given with the wrong type", () => {
  const client = connect({ address: "127.0.0.1:1" });
  const refusal = (field: string) =>
    expect.objectContaining({ name: "InvalidArgumentError", fields: [expect.objectContaining({ field })] });
  test.each<[string, () => unknown, string]>([
    ["a filter", () => client.listJobs("failed" as never), "filter"],
    ["states of a filter", () => client.listJobs({ states: "failed" as never }), "filter.states"],
    ["a state of a filter", () => client.listJobs({ states: ["broken" as never] }), "filter.states"],
    ["a text of a filter", () => client.listJobs({ tag: 5 as never }), "filter.tag"],
    ["an unknown filter", () => client.listJobs({ colour: "red" } as never), "filter.colour"],
    ["a month's filter", () => client.listJobs({ createTimeFrom: "2026" as never }), "filter.createTimeFrom"],
    ["a level", () => client.listLogs("1", { minLevel: "loud" as never }), "minLevel"],
    ["an id", () => client.listAttempts(5 as never), "id"],
    ["slots", () => new Worker({ slots: "4" as never }), "slots"],
    ["queues", () => new Worker({ queues: "default" as never }), "queues"],
    ["a queue", () => new Worker({ queues: ["not a queue"] }), "queues"],
    ["labels", () => new Worker({ labels: { zone: 1 as never } }), "labels.zone"],
    ["a handler", () => new Worker({ handlers: { x: "y" as never } }), "handler"],
    ["a lease time", () => new Worker({ leaseTime: "long" as never }), "leaseTime"],
  ])("%s is refused with its field", (_, make, field) => {
    expect(make).toThrow(refusal(field));
  });
  test.each<[string, () => Promise<unknown>, string]>([
    ["a command", () => client.enqueue(5 as never), "command"],
    ["a target", () => client.wait({} as never), "target"],
    ["items of a batch", () => client.enqueueBatch("x" as never), "items"],
    [
      "an option of an item",
      () => client.enqueueBatch([{ command: "x", options: { tag: 1 as never } }]),
      "items[0].options.tag",
    ],
    ["an API", () => client.enqueueApi("shop" as never), "api"],
    ["a path", () => client.enqueueApi({ target: "shop", path: 5 as never }), "api.path"],
    ["a queue's limits", () => client.updateQueue("q", {}), "limits"],
    ["a schedule", () => client.previewSchedule({ interval: "often" as never }), "schedule.interval"],
    ["a wait", () => client.runCommand("x", null, { wait: "long" as never }), "options.wait"],
  ])("%s is refused with its field before anything is sent", async (_, call, field) => {
    await expect(call()).rejects.toEqual(refusal(field));
  });
});

describe("payloads", () => {
  test.each([null, 0, "", "text", 1.5, true, [1], { a: { b: null } }])("%j survives", (value) => {
    expect(Payload.of(value).value()).toEqual(value);
  });
  test("undefined is nothing, bytes stay bytes", () => {
    expect(Payload.of(undefined)).toBe(Payload.nothing);
    expect(Payload.of(new Uint8Array([1, 2])).data).toEqual(new Uint8Array([1, 2]));
  });
  test.each([[10n], [() => 1], [Symbol("s")], [{ n: 10n }]])("what JSON cannot hold is a typed error", (value) => {
    expect(() => Payload.of(value, "the request")).toThrow(expect.objectContaining({ reason: "UNSERIALIZABLE" }));
  });
  test("a generated message is a typed error that says how it is given", () => {
    const message = { $typeName: "google.protobuf.Empty" };
    expect(() => Payload.of(message, "the request")).toThrow(/Payload\.message\(itsSchema, message\)/);
    expect(Payload.message(EmptySchema, create(EmptySchema)).json).toBe("{}");
  });
  test("a circle is a typed error with a sentence", () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    expect(() => Payload.of(circle, "the request")).toThrow(/^the request cannot be written as JSON/);
  });
  test("text that is no JSON is a typed error when it is read", () => {
    expect(() => Payload.json("{").value()).toThrow(HaulierError);
  });
});

describe("addresses", () => {
  test.each([
    [undefined, "http://127.0.0.1:4285"],
    ["localhost:1", "http://localhost:1"],
    ["https://example.org/", "https://example.org"],
    ["[::1]:4285", "http://[::1]:4285"],
  ])("%s becomes %s", (address, url) => expect(baseUrl(address)).toBe(url));
  test.each(["", "ftp://x", "http://", "a b", "host:port"])("%j is refused", (address) => {
    expect(() => baseUrl(address)).toThrow(expect.objectContaining({ reason: "INVALID_FIELD" }));
  });
});

test("backoff grows to its limit with jitter", () => {
  const bounds = { first: 100, max: 1_000 };
  for (let repeat = 0; repeat < 50; repeat++) {
    const full = Math.min(1_000, 100 * 2 ** repeat);
    expect(backoffMs(repeat, bounds)).toSatisfy((ms: number) => ms >= full / 2 && ms <= full);
  }
});

describe("commands", () => {
  test.each(["", "a b", "ä", "x".repeat(129)])("%j is no name", (name) => {
    expect(() => defineCommand({ name })).toThrow(expect.objectContaining({ reason: "INVALID_FIELD" }));
  });
  test("tell the JSON Schema of the request where the library can", () => {
    const command = defineCommand({ name: "x", request: z.object({ n: z.number() }) });
    expect(JSON.parse(command.jsonSchema ?? "null")).toMatchObject({ type: "object", required: ["n"] });
  });
});

describe("the test kit", () => {
  const shout = async (job: Job, request: { text: string }) => {
    job.log.info("shouting", { length: request.text.length });
    job.progress(0.5, "half way");
    await job.saveCheckpoint({ at: 1 });
    return request.text.toUpperCase();
  };

  test.each([
    ["zod", defineCommand({ name: "shout", request: z.object({ text: z.string() }) })],
    ["valibot", defineCommand({ name: "shout", request: v.object({ text: v.string() }) })],
    ["arktype", defineCommand({ name: "shout", request: type({ text: "string" }) })],
  ])("runs a handler whose request is checked by %s", async (_, command) => {
    const fake = new FakeJob({ request: { text: "hello" } });
    expect(await fake.run(command.handle(shout))).toEqual({ kind: "complete", result: "HELLO", enqueued: [] });
    expect(fake.logs).toEqual([{ level: "info", message: "shouting", fields: { length: "5" } }]);
    expect(fake.progress).toEqual([{ fraction: 0.5, status: "half way" }]);
    expect(fake.checkpoints).toEqual([{ at: 1 }]);

    const bad = await new FakeJob({ request: { text: 5 } }).run(command.handle(shout));
    expect(bad).toMatchObject({
      kind: "fail",
      reason: "unreadable_request",
      retryable: false,
      code: "UNREADABLE_REQUEST",
    });
    expect(bad.kind === "fail" && bad.message).toContain("text");
  });

  test("gives the handler what the schema gives back", async () => {
    const command = defineCommand({
      name: "x",
      request: z.object({ n: z.coerce.number(), unit: z.string().default("m") }),
    });
    const outcome = await new FakeJob({ request: { n: "5" } }).run(
      command.handle((_, { n, unit }) => `${n + 1}${unit}`),
    );
    expect(outcome).toMatchObject({ result: "6m" });
  });

  test.each<[string, () => unknown, object]>([
    [
      "an error",
      () => {
        throw new TypeError("no");
      },
      { kind: "fail", code: "TypeError", message: "no" },
    ],
    [
      "an error with a code",
      () => {
        throw Object.assign(new Error("gone"), { code: "ENOENT" });
      },
      { code: "ENOENT" },
    ],
    [
      "a text",
      () => {
        throw "plain";
      },
      { kind: "fail", code: "NON_ERROR", message: "the handler threw a string: plain" },
    ],
    [
      "null",
      () => {
        throw null;
      },
      { code: "NON_ERROR", message: "the handler threw a null: null" },
    ],
    [
      "an object",
      () => {
        throw { a: 1 };
      },
      { message: 'the handler threw a object: {"a":1}' },
    ],
    [
      "NonRetryable",
      () => {
        throw new NonRetryable("never", { code: "NEVER" });
      },
      { code: "NEVER", retryable: false },
    ],
    [
      "RetryAfter",
      () => {
        throw new RetryAfter("5s", "later");
      },
      { code: "RetryAfter", message: "later", retryDelayMs: 5_000 },
    ],
    [
      "Cancelled",
      () => {
        throw new Cancelled("enough");
      },
      { kind: "cancelled", reason: "enough" },
    ],
    ["a result that is no JSON", () => 10n, { kind: "fail", reason: "unstorable_result", retryable: false }],
    ["a result that is too large", () => "x".repeat(4_000_000), { kind: "fail", reason: "unstorable_result" }],
    ["nothing", () => undefined, { kind: "complete", result: null }],
  ])("a handler that gives %s", async (_, handler, outcome) => {
    expect(await new FakeJob().run(handler)).toMatchObject(outcome);
  });

  test.each<[Parameters<FakeJob["stop"]>[0], object]>([
    ["cancel", { kind: "cancelled" }],
    ["drain", { kind: "release" }],
    ["timeout", { kind: "fail", reason: "timeout", code: "TIMEOUT" }],
    ["in_doubt", { kind: "release" }],
    ["lease_lost", { kind: "dropped" }],
  ])("obeying a stop signal of kind %s", async (kind, outcome) => {
    const fake = new FakeJob();
    const run = fake.run(async (job) => {
      const { setTimeout } = await import("node:timers/promises");
      await setTimeout(60_000, undefined, { signal: job.signal }); // rejects with an AbortError of Node's own
    });
    fake.stop(kind);
    expect(await run).toMatchObject(outcome);
  });

  test("any other error after a stop signal is a failure", async () => {
    const fake = new FakeJob();
    fake.stop("drain");
    expect(
      await fake.run(() => {
        throw new Error("other");
      }),
    ).toMatchObject({ kind: "fail", message: "other" });
  });

  test("gives the result of a parent, however large, and says so when there is none", async () => {
    const { job } = new FakeJob({ parents: [{ id: "3", result: 7 }] });
    expect(await job.parentResult()).toBe(7);
    expect(await job.parentResult("3")).toBe(7);
    await expect(job.parentResult("4")).rejects.toBeInstanceOf(NotFoundError);
    await expect(new FakeJob().job.parentResult()).rejects.toMatchObject({ reason: "PARENT_NOT_FOUND" });
  });

  test("tells a stop signal that came before it was asked for", async () => {
    const fake = new FakeJob();
    fake.stop("cancel", "not needed");
    fake.stop("drain");
    expect(fake.job.signal.aborted).toBe(true);
    expect(fake.job.signal.reason).toBe(fake.job.stopped);
    expect(fake.job.stopped).toMatchObject({ kind: "cancel", message: "not needed" });
  });

  test("has the facts of a job", async () => {
    const fake = new FakeJob({
      id: "5",
      attempt: 2,
      userId: "ann",
      userClaims: { role: "x" },
      checkpoint: { at: 3 },
      options: { args: { a: "b" }, tag: "t" },
      parents: [{ result: 7 }],
    });
    const { job } = fake;
    expect([
      job.id,
      job.attempt,
      job.userId,
      job.userClaims.role,
      job.args.a,
      job.options.tag,
      job.parent?.result,
    ]).toEqual(["5", 2, "ann", "x", "b", "t", 7]);
    expect(job.checkpoint).toEqual({ at: 3 });
  });
});
