// A job that was not started in time is cancelled: see README.md.
import { JobCancelledError } from "haulier";
import { expect, expectError, expectThat, makeWorker, play, working } from "../stage.js";

play("expiry", async (client, queue) => {
  const ran: string[] = [];
  const note = (name: string) => () => {
    ran.push(name);
    return name;
  };
  const begin = performance.now();
  const stale = await client.enqueue("stale", undefined, { queue, expireTime: new Date(Date.now() + 1_000) });
  await expectError("the wait", JobCancelledError, client.wait(stale));
  const ms = performance.now() - begin;
  expectThat(ms < 10_000, `expected that it is cancelled within 10 s, it took ${ms} ms`);
  const { state, cancelReason } = (await client.get(stale)).summary;
  expect("the job", [state, cancelReason], ["cancelled", "expired"]);
  expect("its attempts", await client.listAttempts(stale).all(), []);
  await working(makeWorker(queue, { stale: note("stale"), fresh: note("fresh") }), async () => {
    const fresh = await client.enqueue("fresh", undefined, { queue, expireTime: new Date(Date.now() + 3_600_000) });
    expect("fresh", await client.wait(fresh), "fresh");
    expect("its state", (await client.get(fresh)).summary.state, "completed");
    expect("what ran", ran, ["fresh"]);
  });
});
