// A handler that takes too long is told to stop, and the attempt is retried: see README.md.
import { expect, expectThat, fixed, makeWorker, play, present, toldToStop, working } from "../stage.js";

play("timeout", async (client, queue) => {
  const why: (string | undefined)[] = [];
  const worker = makeWorker(queue, {
    slow: async (job) => {
      if (job.attempt > 1) return "second";
      await toldToStop(job).finally(() => why.push(job.stopped?.kind));
      return "first";
    },
  });
  await working(worker, async () => {
    const options = { queue, timeout: "1s", retryPolicy: fixed(1, 50) } as const;
    const job = await client.enqueue("slow", undefined, options);
    expect("the result", await client.wait(job), "second");
    expect("the stop signals", why, ["timeout"]);
    const attempts = await client.listAttempts(job).all();
    expect(
      "the attempts",
      attempts.map(({ outcome }) => outcome),
      ["timed_out", "completed"],
    );
    const [first] = attempts;
    const ms =
      present("a finish time", first?.finishTime).getTime() - present("a start time", first?.startTime).getTime();
    expectThat(ms >= 1_000 && ms < 8_000, `expected that attempt 1 took 1 s to 8 s, saw ${ms} ms`);
  });
});
