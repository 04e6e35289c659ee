// An id of the caller's own makes a job unique: see README.md.
import { AlreadyExistsError, NotFoundError } from "haulier";
import { expect, expectError, named, play, RUN } from "../stage.js";

play("ref-id", async (client, queue) => {
  const refId = named("ref");
  const first = await client.enqueue("once", { n: 1 }, { queue, refId });
  expect("created", first.created, true);
  const taken = async (call: Promise<unknown>) => {
    const error = await expectError("a ref id that is taken", AlreadyExistsError, call);
    expect("its reason and job", [error.reason, error.jobId], ["REF_ID_TAKEN", first.id]);
  };
  await taken(client.enqueue("once", { n: 1 }, { queue, refId }));
  const existing = { queue, refId, refIdPolicy: "return_existing" } as const;
  const same = await client.enqueue("once", { n: 1 }, existing);
  expect("the same again", [same.id, same.created], [first.id, false]);
  await taken(client.enqueue("once", { n: 2 }, existing));

  const call = { requestId: `request-${RUN}` };
  const one = await client.enqueue("once", { n: 3 }, { queue }, call);
  const two = await client.enqueue("once", { n: 3 }, { queue }, call);
  expect("one request id twice", [two.id, one.created, two.created], [one.id, true, false]);

  expect("the job by its ref id", (await client.get({ refId })).summary.id, first.id);
  const missing = await expectError("a ref id of nobody", NotFoundError, client.get({ refId: named("missing") }));
  expect("its reason", missing.reason, "JOB_NOT_FOUND");
  for (const id of [first.id, one.id]) await client.cancel(id);
});
