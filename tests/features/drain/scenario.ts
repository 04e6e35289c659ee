// SIGTERM lets a worker process finish what it can, and gives the rest back unspent: see README.md.
import type { EnqueuedJob } from "haulier";
import { expect, LANGUAGE, play, WorkerProgram } from "../stage.js";

play("drain", async (client, queue) => {
  const said = async (job: EnqueuedJob, text: string) => {
    for await (const event of client.watch(job)) {
      if (event.kind === "logs" && event.lines.some(({ message }) => message === text)) return;
    }
  };
  const options = { drainSeconds: 4 };
  const [work, hold, echo] = await WorkerProgram.during(
    LANGUAGE,
    queue,
    async (program) => {
      const work = await client.enqueue("scenario.work", { seconds: 2 }, { queue });
      const hold = await client.enqueue("scenario.hold", undefined, { queue });
      await Promise.all([said(work, "working"), said(hold, "holding")]);
      program.send("SIGTERM");
      await client.wait(work); // what is enqueued before the signal is heard may still be taken
      const echo = await client.enqueue("scenario.echo", { late: true }, { queue });
      expect("the exit code", await program.ended(15), 0);
      return [work, hold, echo] as const;
    },
    options,
  );
  const { summary, result } = await client.get(work);
  expect("the state of work", summary.state, "completed");
  expect("the result of work", result, { language: LANGUAGE, attempt: 1 });
  expect("the state of hold", (await client.get(hold)).summary.state, "queued");
  expect("the state of echo", (await client.get(echo)).summary.state, "queued");
  await WorkerProgram.during(LANGUAGE, queue, async () => {
    expect("work", await client.wait(work), result);
    const held = (await client.wait(hold)) as Record<string, unknown>;
    expect("hold", [held.attempt, held.checkpoint], [1, { by: LANGUAGE }]);
    expect("echo", await client.wait(echo), { language: LANGUAGE, request: { late: true } });
    const attempts = await client.listAttempts(hold).all();
    expect(
      "the attempts of hold",
      attempts.map(({ outcome }) => outcome),
      ["released", "completed"],
    );
  });
});
