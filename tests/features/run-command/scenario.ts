// A command runs now, nothing is stored, errors come back: see README.md.
import { JobFailedError, NonRetryable, UnavailableError } from "haulier";
import { expect, expectError, expectThat, makeWorker, named, play, toldToStop, until, working } from "../stage.js";

play("run-command", async (client, queue) => {
  const worker = makeWorker(queue, {
    double: (_, { n }: { n: number }) => 2 * n,
    charge: () => {
      throw new NonRetryable("no such account", { code: "NO_ACCOUNT" });
    },
    endless: toldToStop,
  });
  await working(worker, async () => {
    expect("double", await client.runCommand("double", { n: 4 }, { queue }), 8);
    const charge = await expectError("charge", JobFailedError, client.runCommand("charge", undefined, { queue }));
    expect("its code", charge.jobCode, "NO_ACCOUNT");
    const slow = client.runCommand("endless", undefined, { queue, timeout: "1s" });
    expect("its reason", (await expectError("endless", JobFailedError, slow)).failureReason, "timeout");

    const refId = named("endless");
    const run = await client.startCommand("endless", undefined, { queue, refId });
    expect("its ref id", run.refId, refId);
    const running = await until("the run is running", async () => {
      const { summary } = await client.get({ refId });
      return summary.state === "running" && summary;
    });
    expect("the run", [running.transient, running.id], [true, "0"]);
    await client.cancel({ refId });
    await until("the run is cancelled", async () => (await client.get({ refId })).summary.state === "cancelled");

    const begin = performance.now();
    const nobody = client.runCommand("nobody-serves-this", undefined, { queue });
    expect("its reason", (await expectError("nobody", UnavailableError, nobody)).reason, "NO_WORKER_HERE");
    const seconds = (performance.now() - begin) / 1_000;
    expectThat(seconds < 30 + 10, `expected an answer within 30 s, it took ${seconds} s`);
    expect("the list", await client.listJobs({ queue }).all(), []);
  });
});
