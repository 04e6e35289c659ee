// What a handler enqueues counts only if it succeeds: see README.md.
import { JobFailedError, NonRetryable } from "haulier";
import { expect, expectError, expectThat, makeWorker, named, play, present, until, working } from "../stage.js";

play("atomic-batch", async (client, queue) => {
  const worker = makeWorker(queue, {
    outer: async (job, { fail }: { fail: boolean }) => {
      const options = { queue, batchId: `${named("atomic")}-${fail}` };
      const child = await job.enqueue("inner", undefined, { ...options, dependsOn: job.id });
      job.enqueueOnComplete("inner", undefined, options);
      if (fail) throw new NonRetryable("it is to fail");
      return { child: child.id };
    },
    inner: () => "ran",
  });
  const finished = (batchId: string) =>
    until(`the batch ${batchId} is finished`, async () => {
      const { counts, finishTime } = await client.getBatch(batchId);
      return finishTime !== undefined && counts;
    });
  await working(worker, async () => {
    const good = await client.enqueue("outer", { fail: false }, { queue });
    const { child } = (await client.wait(good)) as { child: string };
    const counts = await finished(`${named("atomic")}-false`);
    expect("the first batch", [counts.total, counts.completed], [2, 2]);
    const inner = await client.listJobs({ batchId: `${named("atomic")}-false` }).all();
    expectThat(
      inner.some(({ id }) => id === child),
      `expected the job ${child} in the batch`,
    );
    const ended = present("the end of outer", (await client.get(good)).summary.finishTime);
    for (const { id, parentId, startTime } of inner) {
      expect(`the parent of ${id}`, parentId, good.id);
      const begin = present(`the start of ${id}`, startTime);
      expectThat(begin >= ended, `expected that ${id} starts after ${ended.toISOString()}, saw ${begin.toISOString()}`);
    }

    const bad = await client.enqueue("outer", { fail: true }, { queue });
    await expectError("outer that fails", JobFailedError, client.wait(bad));
    const none = await finished(`${named("atomic")}-true`);
    expect("the second batch", [none.total, none.cancelled], [1, 1]);
    const [only] = await client.listJobs({ batchId: `${named("atomic")}-true` }).all();
    expect("its job", [only?.state, only?.cancelReason], ["cancelled", "parent"]);
    expect("its attempts", await client.listAttempts(present("its job", only)).all(), []);
  });
});
