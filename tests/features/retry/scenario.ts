// A handler fails twice and succeeds at the third attempt: see README.md.
import { expect, expectThat, fixed, makeWorker, play, working } from "../stage.js";

play("retry", async (client, queue) => {
  const worker = makeWorker(queue, {
    flaky: async (job) => {
      if (job.attempt === 1) await job.saveCheckpoint({ at: 1 });
      if (job.attempt < 3) throw new Error("not yet");
      return { attempt: job.attempt, checkpoint: job.checkpoint, last_error: job.lastError?.message };
    },
  });
  await working(worker, async () => {
    const job = await client.enqueue("flaky", undefined, { queue, retryPolicy: fixed(3, 100) });
    expect("the result", await client.wait(job), { attempt: 3, checkpoint: { at: 1 }, last_error: "not yet" });
    const attempts = await client.listAttempts(job).all();
    expect(
      "the attempts",
      attempts.map(({ attempt, outcome, error }) => [attempt, outcome, error?.message]),
      [
        [1, "failed", "not yet"],
        [2, "failed", "not yet"],
        [3, "completed", undefined],
      ],
    );
    const epochs = attempts.map(({ epoch }) => epoch);
    const grow = epochs.every((epoch, index) => index === 0 || epoch > (epochs[index - 1] ?? 0));
    expectThat(grow, `expected epochs that grow, saw ${epochs}`);
  });
});
