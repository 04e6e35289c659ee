// A delayed job does not start before its time: see README.md.
import { expect, expectThat, makeWorker, play, present, working } from "../stage.js";

play("delay", async (client, queue) => {
  const worker = makeWorker(queue, { later: () => "done" });
  await working(worker, async () => {
    const job = await client.enqueue("later", undefined, { queue, delay: "1.5s" });
    expect("the state", job.state, "scheduled");
    expect("the result", await client.wait(job), "done");
    const created = present("a create time", (await client.get(job)).summary.createTime);
    const [attempt] = await client.listAttempts(job).all();
    const ms = present("a start time", attempt?.startTime).getTime() - created.getTime();
    // Times are read to the millisecond here, so that one may seem to be lost.
    expectThat(ms >= 1_499 && ms < 10_000, `expected a start 1.5 s to 10 s after it was created, saw ${ms} ms`);
  });
});
