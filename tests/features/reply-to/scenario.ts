// The outcome is told to a URL: see README.md.
import { createServer, type IncomingHttpHeaders } from "node:http";
import { type EnqueuedJob, InvalidArgumentError, type JobSummary, NonRetryable } from "haulier";
import { expect, expectError, expectThat, makeWorker, play, present, working } from "../stage.js";

interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

play("reply-to", async (client, queue) => {
  const received: Received[] = [];
  const server = createServer((request, answer) => {
    let body = "";
    request.on("data", (chunk) => {
      body += String(chunk);
    });
    request.on("end", () => {
      const path = request.url ?? "";
      const isFirst = !received.some((earlier) => earlier.path === path);
      received.push({ method: request.method ?? "", path, headers: request.headers, body });
      answer.writeHead(path === "/stubborn" && isFirst ? 500 : 204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const at = `127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
  const requestsTo = (path: string) => received.filter((request) => request.path === path);
  const notified = async (job: EnqueuedJob): Promise<JobSummary> => {
    let last: JobSummary | undefined;
    for await (const event of client.watch(job, { until: "notified" })) {
      if (event.kind === "snapshot") last = event.job.summary;
      if (event.kind === "state") last = event.job;
    }
    return present("a last state", last);
  };

  const worker = makeWorker(queue, {
    make: () => ({ made: 1 }),
    doomed: () => {
      throw new NonRetryable("doomed", { code: "DOOMED" });
    },
    carry: (job) => job.options.replyTo,
  });
  await working(worker, async () => {
    const replyTo = `PUT http.X-Key:open%20sesame@http://${at}/done?job=1`;
    const done = await client.enqueue("make", undefined, { queue, replyTo });
    const ended = await notified(done);
    expect("the state of the first", ended.state, "completed");
    expectThat(ended.notifyTime !== undefined, "expected a notify time of the first, saw none");
    const [told, ...more] = requestsTo("/done?job=1");
    expect("the first request", [told?.method, JSON.parse(told?.body ?? "null"), more], ["PUT", { made: 1 }, []]);
    expect("its key", told?.headers["x-key"], "open sesame");
    const headers = told?.headers ?? {};
    expectThat(Boolean(headers["webhook-id"] && headers["webhook-timestamp"]), `expected webhook headers in ${told}`);
    const values = Object.values(headers).map((value) => String(value).toLowerCase());
    for (const value of [done.id, done.refId.toLowerCase()]) {
      expectThat(values.includes(value), `expected a header with ${value}, saw ${values}`);
    }
    expectThat(
      values.some((value) => /^(job_state_|state_)?(completed|executed)$/.test(value)),
      `expected a header with its state, saw ${values}`,
    );

    const doomed = await client.enqueue("doomed", undefined, {
      queue,
      replyTo: `token@http://${at}/failed`,
      replyBody: "envelope",
    });
    await notified(doomed);
    const [failed] = requestsTo("/failed");
    expect("the second request", [failed?.method, failed?.headers.authorization], ["POST", "Bearer token"]);
    const envelope = JSON.parse(failed?.body ?? "null") as Record<string, unknown>;
    expect("the id in the envelope", String(envelope.id), doomed.id);
    expect("the ref id in the envelope", envelope.ref_id ?? envelope.refId, doomed.refId);
    expectThat(/failed/i.test(String(envelope.state)), `expected a state that is failed, saw ${envelope.state}`);
    expect("the code in the envelope", (envelope.error as { code?: unknown } | undefined)?.code, "DOOMED");

    const url = `http://${at}/carried`;
    const carry = await client.enqueue("carry", undefined, { queue, replyTo: url, replyMode: "carry" });
    expect("the third result", await client.wait(carry), url);
    expect("requests to /carried", requestsTo("/carried"), []);

    const stubborn = await client.enqueue("make", undefined, { queue, replyTo: `http://${at}/stubborn` });
    await notified(stubborn);
    const tries = requestsTo("/stubborn");
    const ids = new Set(tries.map((request) => request.headers["webhook-id"]));
    expect("tries of the fourth, and their webhook ids", [tries.length, ids.size], [2, 1]);
    const deliveries = await client.listDeliveries({ jobId: stubborn.id }).all();
    expect(
      "its deliveries",
      deliveries.map(({ state, attemptCount, attempts }) => [state, attemptCount, attempts[0]?.httpStatus]),
      [["delivered", 2, 500]],
    );

    const ftp = client.enqueue("make", undefined, { queue, replyTo: "ftp://127.0.0.1/x" });
    const error = await expectError("a reply_to of ftp", InvalidArgumentError, ftp);
    const fields = error.fields.map(({ field }) => field);
    expectThat(fields.includes("options.reply_to"), `expected the field options.reply_to, saw ${fields}`);
  });
});
