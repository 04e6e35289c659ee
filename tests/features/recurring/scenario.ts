// A task recurs by itself, and on request: see README.md.
import { InvalidArgumentError, NotFoundError } from "haulier";
import { expect, expectError, expectThat, makeWorker, named, play, present, RUN, until, working } from "../stage.js";

play("recurring", async (client, queue) => {
  const worker = makeWorker(queue, { tick: (job) => job.recurringTask });
  await working(worker, async () => {
    const name = named("task");
    const definition = { name, command: "tick", schedule: { interval: "1s" }, options: { queue, tag: name } } as const;
    expect("the first put", (await client.putRecurringTask(definition)).result, "created");
    expect("the second put", (await client.putRecurringTask(definition)).result, "unchanged");
    const task = await until("it ran twice", async () => {
      const task = await client.getRecurringTask(name);
      return task.runCount >= 2 && task;
    });
    expect("the result of a run", await client.wait(present("a last job", task.lastJobId)), name);

    const paused = await client.pauseRecurringTask(name, { reason: "upgrade" });
    expect("the pause", [paused.paused, paused.pauseReason, paused.nextTime], [true, "upgrade", undefined]);
    const requestId = `trigger-${RUN}`;
    const first = await client.triggerRecurringTask(name, { requestId });
    const second = await client.triggerRecurringTask(name, { requestId });
    expect("the triggers", [first.created, second.created, second.jobId], [true, false, first.jobId]);
    expect("the triggered run", await client.wait(present("its job", first.jobId)), name);

    const live = ["scheduled", "blocked", "queued", "running", "executed", "completed"];
    const found = await client.listJobs({ recurringTask: name }).all();
    expectThat(found.length >= 3, `expected at least 3 jobs, saw ${found.length}`);
    const states = found.map(({ state }) => state as string);
    expectThat(
      states.every((state) => live.includes(state)),
      `expected jobs that are completed or live, saw ${states}`,
    );

    const resumed = await client.resumeRecurringTask(name);
    expectThat(resumed.nextTime !== undefined, "expected a next time after resume, saw none");
    const vienna = { cron: "0 3 * * *", timeZone: "Europe/Vienna" };
    const { times, localTimes } = await client.previewSchedule(vienna, { count: 5 });
    expect("the number of times", times.length, 5);
    expectThat(
      localTimes.every((text) => text.includes("T03:00:00")),
      `expected 03:00 local time, saw ${localTimes}`,
    );
    const never = client.previewSchedule({ cron: "0 0 30 2 *" });
    await expectError("a date that never comes", InvalidArgumentError, never);

    await client.deleteRecurringTask(name);
    await expectError("the deleted task", NotFoundError, client.getRecurringTask(name));
  });
});
