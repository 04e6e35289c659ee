// A job does not start before a time; a time that has passed means now: see README.md.
import { expect, expectThat, makeWorker, play, present, working } from "../stage.js";

play("run-after", async (client, queue) => {
  const worker = makeWorker(queue, { later: () => "done" });
  await working(worker, async () => {
    const runAfter = new Date(Date.now() + 2_000);
    const later = await client.enqueue("later", undefined, { queue, runAfter });
    const now = await client.enqueue("later", undefined, { queue, runAfter: new Date(Date.now() - 3_600_000) });
    expect("the state of the first", later.state, "scheduled");
    expectThat(["queued", "running"].includes(now.state), `expected queued or running, saw ${now.state}`);
    expect("the second", await client.wait(now), "done");
    expect("the first", await client.wait(later), "done");
    const ended = present("the end of the second", (await client.get(now)).summary.finishTime);
    const [attempt] = await client.listAttempts(later).all();
    const begin = present("the start of the first", attempt?.startTime);
    expectThat(ended <= begin, `expected that the second ended before the first began, saw ${ended} and ${begin}`);
    expectThat(begin >= runAfter, `expected a start at or after ${runAfter.toISOString()}, saw ${begin.toISOString()}`);
  });
});
