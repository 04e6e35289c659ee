// A job is enqueued, run, and its result read back: see README.md.
import { defineCommand } from "haulier";
import { expect, makeWorker, named, play, working } from "../stage.js";

const hello = defineCommand<{ name: string }, string>({ name: "hello" });

play("hello", async (client, queue) => {
  const worker = makeWorker(queue, {}, { slots: 1, commands: [hello.handle((_, { name }) => `hello, ${name}`)] });
  await working(worker, async () => {
    const tag = named("hello");
    const job = await client.enqueue(hello, { name: "Ann" }, { queue, tag });
    expect("created", job.created, true);
    const result: string = await client.wait(job);
    expect("the result", result, "hello, Ann");
    for (const full of [await client.get(job), await client.get({ refId: job.refId })]) {
      expect("its id", full.summary.id, job.id);
      expect("its state", full.summary.state, "completed");
      expect("its result", full.result, "hello, Ann");
      expect("its request", full.request, { name: "Ann" });
      const { run, attempt } = full.summary;
      expect("its tag, run and attempt", [full.summary.tag, run, attempt], [tag, 1, 1]);
    }
    const found = await client.listJobs({ queue }).all();
    expect(
      "the list",
      found.map(({ id }) => id),
      [job.id],
    );
    const attempts = await client.listAttempts(job).all();
    expect(
      "its attempts",
      attempts.map(({ outcome }) => outcome),
      ["completed"],
    );
  });
});
