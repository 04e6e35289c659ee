// A job runs only after its parents ended as it asks, and gets what they returned: see README.md.
import { type Dependency, InvalidArgumentError, JobCancelledError, NonRetryable } from "haulier";
import { expect, expectError, expectThat, makeWorker, named, play, working } from "../stage.js";

play("dependency", async (client, queue) => {
  const worker = makeWorker(queue, {
    produce: () => ({ value: 7 }),
    consume: ({ parent }) => ({ parent: parent?.id, got: parent?.result, asked: parent?.request }),
    doomed: () => {
      throw new NonRetryable("doomed");
    },
    note: () => "ran",
  });
  const enqueue = async (command: string, dependsOn: Dependency, request?: unknown) => {
    const job = await client.enqueue(command, request, { queue, dependsOn });
    expect(`the state of ${command} when it is enqueued`, job.state, "blocked");
    return job;
  };
  const A = await client.enqueue("produce", { n: 1 }, { queue });
  const B = await enqueue("consume", A.id);
  const F = await client.enqueue("doomed", undefined, { queue, refId: named("doomed") });
  const C = await enqueue("note", { id: F.id, condition: "success" });
  const D = await enqueue("note", { id: C.id });
  const E = await enqueue("note", { refId: named("doomed"), condition: "finished" });
  const G = await enqueue("note", { id: F.id, condition: "failure" });
  const H = await enqueue("note", { id: A.id, condition: "failure" });
  await working(worker, async () => {
    const got = { parent: A.id, got: { value: 7 }, asked: { n: 1 } };
    expect("what B got", await client.wait(B), got);
    expect("the parent of B", (await client.get(B)).summary.parentId, A.id);
    for (const [name, job] of Object.entries({ C, D, H })) {
      const error = await expectError(name, JobCancelledError, client.wait(job));
      expect(`why ${name} was cancelled`, error.cancelReason, "parent");
      const { cancelMessage = "" } = (await client.get(job)).summary;
      const named = [A, C, F].some(({ id }) => cancelMessage.includes(id));
      expectThat(named, `expected that ${name} names the id of a job, saw ${JSON.stringify(cancelMessage)}`);
    }
    expect("E", await client.wait(E), "ran");
    expect("G", await client.wait(G), "ran");
    const I = await client.enqueue("consume", undefined, { queue, dependsOn: A });
    expect("what I got", await client.wait(I), got);
    const nobody = (BigInt(I.id) + 1_000_001n).toString();
    const missing = client.enqueue("note", undefined, { queue, dependsOn: nobody });
    const error = await expectError("a parent that nobody knows", InvalidArgumentError, missing);
    expect("its reason", error.reason, "PARENT_NOT_FOUND");
  });
});
