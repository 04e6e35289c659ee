// Another command receives the result, and its failure changes nothing: see README.md.
import { type Client, type EnqueuedJob, type JobSummary, NonRetryable } from "haulier";
import { expect, expectThat, makeWorker, named, play, present, working } from "../stage.js";

async function notified(client: Client, job: EnqueuedJob): Promise<JobSummary> {
  let last: JobSummary | undefined;
  for await (const event of client.watch(job, { until: "notified" })) {
    if (event.kind === "snapshot") last = event.job.summary;
    if (event.kind === "state") last = event.job;
  }
  return present("a last state", last);
}

play("callback", async (client, queue) => {
  const worker = makeWorker(queue, {
    render: () => ({ file: "a.png" }),
    rendered: (job, request) => {
      const { args, options, userId, parent } = job;
      return { request, args, tag: options.tag, user: userId, parent: parent?.id };
    },
    stumble: () => {
      throw new NonRetryable("stumbled");
    },
  });
  await working(worker, async () => {
    const options = { queue, tag: named("tag"), userId: "ann", args: { tenant: "7" } };
    const callback = { command: "rendered", args: { page: "1" } };
    const R = await client.enqueue("render", undefined, { ...options, callback });
    const ended = await notified(client, R);
    expect("the state of R", ended.state, "completed");
    expectThat(ended.notifyTime !== undefined, "expected a notify time of R, saw none");
    const callbackId = present("the callback's job of R", ended.callbackJobId);
    const args = { tenant: "7", page: "1" };
    const wanted = { request: { file: "a.png" }, args, tag: named("tag"), user: "ann", parent: R.id };
    expect("what the callback got", await client.wait(callbackId), wanted);
    expect("the parent of the callback", (await client.get(callbackId)).summary.parentId, R.id);

    const S = await client.enqueue("render", undefined, { queue, callback: "stumble" });
    const other = await notified(client, S);
    expect("the state of S", other.state, "completed");
    expect("the result of S", (await client.get(S)).result, { file: "a.png" });
    expectThat(
      (other.callbackError ?? "").includes("stumbled"),
      `expected a callback error with stumbled, saw ${other.callbackError}`,
    );
    const failed = await client.get(present("the callback's job of S", other.callbackJobId));
    expect("the state of the callback of S", failed.summary.state, "failed");
  });
});
