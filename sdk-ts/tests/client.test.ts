import { Code, ConnectError } from "@connectrpc/connect";
import {
  AlreadyExistsError,
  connect,
  DeadlineExceededError,
  defineCommand,
  InvalidArgumentError,
  JobCancelledError,
  JobFailedError,
  UnavailableError,
  UnimplementedError,
} from "haulier";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { JobState } from "../src/gen/haulier/v1/job_pb.js";
import type { EnqueueCommandRequest, WatchJobRequest } from "../src/gen/haulier/v1/job_service_pb.js";
import { FakeServer, failure } from "./fake-server.js";
import { freePort } from "./real-server.js";

let server: FakeServer;
beforeEach(async () => {
  server = await FakeServer.start();
});
afterEach(() => server.stop());

const client = (options = {}) => connect({ address: server.address, ...options });
const ok = { jobId: 9_007_199_254_740_993n, refId: "r", created: true, state: JobState.QUEUED };

describe("a call", () => {
  test("gives ids as text, exact beyond 53 bits", async () => {
    server.onCall = () => ok;
    expect(await client().enqueue("x")).toEqual({ id: "9007199254740993", refId: "r", created: true, state: "queued" });
  });

  test.each([
    ["UNAVAILABLE", () => failure(Code.Unavailable, "STORE_UNAVAILABLE", {}, 20)],
    ["RESOURCE_EXHAUSTED with a delay", () => failure(Code.ResourceExhausted, "OVERLOADED", {}, 20)],
  ])("is repeated after %s, with the same request id", async (_, error) => {
    const ids: string[] = [];
    server.onCall = (_, request) => {
      ids.push((request as EnqueueCommandRequest).requestId);
      if (ids.length < 3) throw error();
      return ok;
    };
    await client().enqueue("x");
    expect(ids).toHaveLength(3);
    expect(new Set(ids).size).toBe(1);
    expect(ids[0]).not.toBe("");
  });

  test("waits as long as the server asks", async () => {
    let calls = 0;
    server.onCall = () => {
      if (calls++ === 0) throw failure(Code.Unavailable, "SHUTTING_DOWN", {}, 600);
      return ok;
    };
    const begin = performance.now();
    await client().enqueue("x");
    expect(performance.now() - begin).toBeGreaterThanOrEqual(600);
  });

  test("is repeated over a broken connection", async () => {
    server.onCall = () => ok;
    let cuts = 2;
    server.at = () => (cuts-- > 0 ? "cut" : "pass");
    expect((await client().enqueue("x")).created).toBe(true);
  });

  test.each([
    [Code.AlreadyExists, "REF_ID_TAKEN", AlreadyExistsError],
    [Code.Unimplemented, "NOT_SUPPORTED", UnimplementedError],
    [Code.ResourceExhausted, "LIMIT_REACHED", Error],
  ])("is not repeated after code %i", async (code, reason, type) => {
    let calls = 0;
    server.onCall = () => {
      calls++;
      throw failure(code, reason, { job_id: "7" });
    };
    const error = await client()
      .enqueue("x")
      .catch((error: unknown) => error);
    expect(error).toBeInstanceOf(type);
    expect(error).toMatchObject({ reason, metadata: { job_id: "7" } });
    expect(calls).toBe(1);
  });

  test("to a server that is away is a typed error when the time for retries is over", async () => {
    const away = connect({ address: `127.0.0.1:${await freePort()}`, retryTime: "300ms" });
    const error = await away.enqueue("x").catch((error: unknown) => error);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({
      reason: "SERVER_UNREACHABLE",
      message: expect.stringMatching(/^enqueue x: .*ECONNREFUSED/),
    });
  });

  test("to something that is no gRPC server is a typed error", async () => {
    const http = (await import("node:http")).createServer((_, answer) => answer.end("<html>"));
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    const address = http.address();
    const wrong = connect({ address: `127.0.0.1:${typeof address === "object" && address?.port}`, retryTime: 0 });
    await expect(wrong.enqueue("x")).rejects.toMatchObject({ name: "UnavailableError", reason: "SERVER_UNREACHABLE" });
    await new Promise((resolve) => http.close(resolve));
  });

  test("that takes too long is DEADLINE_EXCEEDED", async () => {
    server.onCall = () => new Promise(() => {});
    await expect(client({ timeout: "100ms" }).enqueue("x")).rejects.toBeInstanceOf(DeadlineExceededError);
  });

  test("whose signal is aborted rejects with the signal's reason", async () => {
    server.onCall = () => new Promise(() => {});
    const reason = new Error("enough");
    const controller = new AbortController();
    const call = client().enqueue("x", null, {}, { signal: controller.signal });
    setTimeout(() => controller.abort(reason), 30);
    await expect(call).rejects.toBe(reason);
  });

  test("with what JSON cannot hold fails before anything is sent", async () => {
    await expect(client().enqueue("x", { n: 1n })).rejects.toMatchObject({ reason: "UNSERIALIZABLE" });
    await expect(client().enqueue("not a name")).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(server.points).toEqual([]);
  });

  test("with a request that its schema refuses fails before anything is sent, naming the field", async () => {
    const command = defineCommand({ name: "x", request: z.object({ size: z.object({ width: z.number() }) }) });
    const bad = client().enqueue(command, { size: { width: "5" } } as never);
    await expect(bad).rejects.toMatchObject({ fields: [{ field: "request.size.width" }] });
    expect(server.points).toEqual([]);
  });

  test("with a message beyond every limit is a typed error", async () => {
    const huge = client().enqueue("x", "x".repeat(17 * 1024 * 1024));
    await expect(huge).rejects.toMatchObject({ reason: "MESSAGE_TOO_LARGE" });
  });

  test("carries the caller's trace context", async () => {
    let seen: EnqueueCommandRequest | undefined;
    server.onCall = (_, request) => {
      seen = request as EnqueueCommandRequest;
      return ok;
    };
    await client({ traceContext: () => ({ traceparent: "00-ab-cd-01" }) }).enqueue("x");
    expect(seen?.options?.traceparent).toBe("00-ab-cd-01");
  });

  test("goes through a transport of the caller's own", async () => {
    const { createRouterTransport } = await import("@connectrpc/connect");
    const { JobService } = await import("../src/gen/haulier/v1/job_service_pb.js");
    const transport = createRouterTransport(({ rpc }) => rpc(JobService.method.enqueueCommand, () => ok));
    expect((await connect({ transport }).enqueue("x")).refId).toBe("r");
  });
});

describe("runCommand", () => {
  const size = defineCommand<string, number>({ name: "size" });
  test("gives the result", async () => {
    server.onCall = () => ({ refId: "t", state: JobState.COMPLETED, result: { kind: { case: "json", value: "5" } } });
    const result: number = await client().runCommand(size, "hello");
    expect(result).toBe(5);
  });
  test("throws what the run failed with", async () => {
    server.onCall = () => ({ refId: "t", state: JobState.FAILED, error: { code: "E1", message: "no", stack: "s" } });
    const error = await client()
      .runCommand(size, "x")
      .catch((error: unknown) => error);
    expect(error).toBeInstanceOf(JobFailedError);
    expect(error).toMatchObject({ refId: "t", jobCode: "E1", message: "run t failed: no", jobStack: "s" });
  });
  test("says so when the wait is over first", async () => {
    server.onCall = () => ({ refId: "t", state: JobState.RUNNING });
    await expect(client().runCommand(size, "x", { wait: "1s" })).rejects.toMatchObject({
      reason: "DEADLINE_EXCEEDED",
      metadata: { ref_id: "t" },
    });
  });
  test("is repeated when the server said that it has not begun", async () => {
    let calls = 0;
    server.onCall = () => {
      if (calls++ === 0) throw failure(Code.Unavailable, "SHUTTING_DOWN", {}, 20);
      return { refId: "t", state: JobState.COMPLETED, result: { kind: { case: "json", value: "5" } } };
    };
    expect(await client().runCommand(size, "x")).toBe(5);
    expect(calls).toBe(2);
  });
  test("is not repeated when nobody was there to take it: the server has waited for a worker", async () => {
    let calls = 0;
    server.onCall = () => {
      calls++;
      throw failure(Code.Unavailable, "NO_WORKER_HERE", {}, 20);
    };
    await expect(client().runCommand(size, "x")).rejects.toMatchObject({ reason: "NO_WORKER_HERE" });
    expect(calls).toBe(1);
  });
  test("is not repeated when it may have begun", async () => {
    let calls = 0;
    server.onCall = () => {
      calls++;
      throw new ConnectError("gone", Code.Unavailable);
    };
    await expect(client().runCommand(size, "x")).rejects.toBeInstanceOf(UnavailableError);
    expect(calls).toBe(1);
  });
});

describe("watch", () => {
  const summary = (state: JobState) => ({ id: 7n, refId: "r", run: 1, state, attempt: 2 });
  const ended = (state = JobState.COMPLETED) => ({
    resumeToken: "t9",
    event: {
      case: "snapshot",
      value: {
        summary: summary(state),
        record: { case: "completed", value: { result: { kind: { case: "json", value: "42" } } } },
      },
    },
  });
  const log = (index: number) => ({
    resumeToken: `t${index}`,
    event: { case: "logs", value: { lines: [{ sequence: BigInt(index), message: `line ${index}`, level: 3 }] } },
  });

  test("resumes where its stream was cut, again and again, and ends with the outcome", async () => {
    const tokens: string[] = [];
    server.onCall = async function* (_method: string, request: unknown) {
      const { resumeToken } = request as WatchJobRequest;
      tokens.push(resumeToken);
      const from = Number(resumeToken.slice(1) || "0");
      yield log(from + 1);
      if (from < 3) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        server.cut();
        await new Promise(() => {});
      }
      yield ended();
    };
    const lines: string[] = [];
    for await (const event of client().watch("7")) {
      if (event.kind === "logs") lines.push(...event.lines.map((line) => line.message));
    }
    expect(tokens).toEqual(["", "t1", "t2", "t3"]);
    expect(lines).toEqual(["line 1", "line 2", "line 3", "line 4"]);
  });

  test("does not take the end of a stream without an outcome for the end", async () => {
    let calls = 0;
    server.onCall = async function* () {
      if (calls++ === 0) yield log(1);
      else yield ended();
    };
    expect(await client().wait("7")).toBe(42);
    expect(calls).toBe(2);
  });

  test("wait throws what the job failed with", async () => {
    const record = { case: "failed", value: { error: { code: "E2", message: "broken", reason: 1 } } };
    server.onCall = async function* () {
      yield { event: { case: "snapshot", value: { summary: summary(JobState.FAILED), record } } };
    };
    await expect(client().wait("7")).rejects.toMatchObject({
      name: "JobFailedError",
      jobId: "7",
      jobCode: "E2",
      attempts: 2,
      failureReason: "handler",
    });
  });

  test("wait says so when the key may not read the result", async () => {
    const hidden = { summary: summary(JobState.COMPLETED), payloadsHidden: true };
    server.onCall = async function* () {
      yield { event: { case: "snapshot", value: { ...hidden, record: { case: "completed", value: {} } } } };
    };
    await expect(client().wait("7")).rejects.toMatchObject({
      name: "PermissionDeniedError",
      reason: "PAYLOADS_HIDDEN",
    });
  });

  test("begins after the token of an earlier watch", async () => {
    const tokens: string[] = [];
    server.onCall = async function* (_method: string, request: unknown) {
      tokens.push((request as WatchJobRequest).resumeToken);
      yield ended();
    };
    for await (const { resumeToken } of client().watch("7", { resumeToken: "t5" })) expect(resumeToken).toBe("t9");
    expect(tokens).toEqual(["t5"]);
  });

  test("wait throws why the job was cancelled", async () => {
    server.onCall = async function* () {
      const cancelled = { ...summary(JobState.CANCELLED), cancelReason: 2, cancelMessage: "too late" };
      yield { event: { case: "snapshot", value: { summary: cancelled, record: { case: "failed", value: {} } } } };
    };
    const error = await client()
      .wait("7")
      .catch((error: unknown) => error);
    expect(error).toBeInstanceOf(JobCancelledError);
    expect(error).toMatchObject({ cancelReason: "expired", message: "job 7 was cancelled: too late" });
  });

  test("wait checks the result by the schema of the command it was enqueued with", async () => {
    server.onCall = (method) =>
      method === "watchJob"
        ? (async function* () {
            yield ended();
          })()
        : ok;
    const command = defineCommand({ name: "x", request: z.string(), result: z.string() });
    const job = await client().enqueue(command, "x");
    await expect(client().wait(job)).rejects.toMatchObject({ reason: "UNREADABLE_PAYLOAD" });
  });

  test("wait gives up after its timeout, and with its signal", async () => {
    server.onCall = async function* () {
      yield log(1);
      await new Promise(() => {});
    };
    await expect(client().wait("7", { timeout: "50ms" })).rejects.toBeInstanceOf(DeadlineExceededError);
    const reason = new Error("enough");
    const signal = AbortSignal.timeout(50);
    await expect(client().wait("7", { signal })).rejects.toMatchObject({ name: "TimeoutError" });
    await expect(client().wait("7", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});

test("a list reads page after page", async () => {
  server.onCall = (_, request) => {
    const { pageToken } = request as { pageToken: string };
    const page = Number(pageToken || "0");
    return { jobs: [{ id: BigInt(page + 1), state: 3 }], nextPageToken: page < 2 ? String(page + 1) : "" };
  };
  const ids: string[] = [];
  for await (const job of client().listJobs({ states: ["queued"] })) ids.push(job.id);
  expect(ids).toEqual(["1", "2", "3"]);
  expect(await client().listJobs().page({ pageSize: 1 })).toMatchObject({ nextPageToken: "1" });
  expect(await client().listJobs().all(2)).toHaveLength(2);
});
