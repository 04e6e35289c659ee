// The three ways to fail for good: see README.md.
import { defineCommand, JobFailedError, NonRetryable } from "haulier";
import { z } from "zod";
import { expect, expectError, expectThat, fixed, makeWorker, play, working } from "../stage.js";

const count = defineCommand({ name: "count", request: z.object({ count: z.int() }) });

play("failure", async (client, queue) => {
  const worker = makeWorker(
    queue,
    {
      broken: () => {
        throw new Error("it broke");
      },
      charge: () => {
        throw new NonRetryable("no such account", { code: "NO_ACCOUNT" });
      },
    },
    { commands: [count.handle((_, request) => request.count)] },
  );
  await working(worker, async () => {
    const broken = await client.enqueue("broken", undefined, { queue, retryPolicy: fixed(1, 50) });
    const first = await expectError("broken", JobFailedError, client.wait(broken));
    expectThat(first.message.endsWith("it broke"), `expected the message it broke, saw ${first.message}`);
    expect("attempts of broken", first.attempts, 2);
    expect("reason of broken", first.failureReason, "handler");
    const { summary, error } = await client.get(broken);
    expect("state of broken", [summary.state, error?.message, error?.reason], ["failed", "it broke", "handler"]);
    expectThat((error?.stack ?? "").includes("it broke"), `expected a stack, saw ${error?.stack}`);

    const charge = await client.enqueue("charge", undefined, { queue, retryPolicy: { retryLimit: 5 } });
    const second = await expectError("charge", JobFailedError, client.wait(charge));
    const { jobCode, attempts, failureReason } = second;
    expect("charge", [jobCode, attempts, failureReason], ["NO_ACCOUNT", 1, "non_retryable"]);
    expect("message of charge", (await client.get(charge)).error?.message, "no such account");

    const bad = await client.enqueue("count", { count: "many" }, { queue, retryPolicy: { retryLimit: 5 } });
    const third = await expectError("count", JobFailedError, client.wait(bad));
    expect("count", [third.attempts, third.failureReason], [1, "unreadable_request"]);
    expectThat(third.message.includes("count"), `expected a message that names count, saw ${third.message}`);
  });
});
