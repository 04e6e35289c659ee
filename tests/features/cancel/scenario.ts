// A running job is cancelled, and its handler hears of it; a waiting one never starts: see README.md.
import { type Cancelled, JobCancelledError } from "haulier";
import { expect, expectError, expectThat, makeWorker, play, toldToStop, working } from "../stage.js";

play("cancel", async (client, queue) => {
  const heard: { readonly stop: Cancelled | undefined; readonly at: number }[] = [];
  const worker = makeWorker(queue, {
    endless: (job) => {
      job.log.info("running");
      return toldToStop(job).finally(() => heard.push({ stop: job.stopped, at: performance.now() }));
    },
  });
  await working(worker, async () => {
    const job = await client.enqueue("endless", undefined, { queue });
    for await (const event of client.watch(job)) {
      if (event.kind === "logs" && event.lines.some(({ message }) => message === "running")) break;
    }
    expect("the cancel", (await client.cancel(job, { reason: "no longer needed" })).result, "requested");
    const answeredAt = performance.now();
    const error = await expectError("the wait", JobCancelledError, client.wait(job));
    expect("why it was cancelled", error.cancelReason, "client");
    const [stop] = heard;
    expect("the stop", [heard.length, stop?.stop?.kind, stop?.stop?.message], [1, "cancel", "no longer needed"]);
    const ms = (stop?.at ?? Number.NaN) - answeredAt;
    expectThat(ms < 2_000, `expected that the handler hears it within 2 s, it did after ${ms} ms`);
    const { state, cancelReason, cancelMessage } = (await client.get(job)).summary;
    expect("the job", [state, cancelReason, cancelMessage], ["cancelled", "client", "no longer needed"]);

    const waiting = await client.enqueue("endless", undefined, { queue, delay: "1h" });
    const answer = await client.cancel(waiting, { reason: "changed my mind" });
    expect("the cancel of one that waits", [answer.result, answer.job.state], ["cancelled", "cancelled"]);
    expect("its state", (await client.get(waiting)).summary.state, "cancelled");
    const again = await client.cancel(waiting, { reason: "changed my mind" });
    expect("the repeat", again.result, "already_finished");
    expect("its attempts", await client.listAttempts(waiting).all(), []);
  });
});
