// A failed job runs again under the same id: see README.md.
import { FailedPreconditionError, JobFailedError, NonRetryable } from "haulier";
import { expect, expectError, expectThat, makeWorker, play, working } from "../stage.js";

play("requeue", async (client, queue) => {
  const worker = makeWorker(queue, {
    "second-time": (job) => {
      if (job.run === 1) throw new NonRetryable("first run");
      return `run ${job.run}`;
    },
  });
  await working(worker, async () => {
    const job = await client.enqueue("second-time", undefined, { queue });
    await expectError("the first run", JobFailedError, client.wait(job));
    const first = await client.requeue(job, { run: 1 });
    const second = await client.requeue(job, { run: 1 });
    expect("the requeues", [first.job.run, first.created, second.job.run, second.created], [2, true, 2, false]);
    expect("the result", await client.wait(job), "run 2");
    const now = (await client.get(job)).summary;
    expect("the job", [now.state, now.run], ["completed", 2]);
    const before = await client.get(job, { run: 1 });
    expect("run 1", [before.summary.state, before.error?.message], ["failed", "first run"]);
    const attempts = (await client.listAttempts(job).all()).sort((a, b) => a.run - b.run);
    expect(
      "the attempts",
      attempts.map(({ run, outcome }) => [run, outcome]),
      [
        [1, "failed"],
        [2, "completed"],
      ],
    );
    const [old = 0, fresh = 0] = attempts.map(({ epoch }) => epoch);
    expectThat(fresh > old, `expected a larger epoch than ${old}, saw ${fresh}`);
    const again = await expectError("a requeue of what completed", FailedPreconditionError, client.requeue(job));
    expect("its reason", again.reason, "WRONG_STATE");
  });
});
