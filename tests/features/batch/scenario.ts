// Several jobs are stored together, or none: see README.md.
import { InvalidArgumentError, NotFoundError } from "haulier";
import { expect, expectError, expectThat, makeWorker, named, play, working } from "../stage.js";

play("batch", async (client, queue) => {
  const worker = makeWorker(queue, {
    fetch: (_, { page }: { page: number }) => ({ page }),
    store: (job) => job.parents.length,
  });
  const fetch = (page: number, localKey: string) =>
    ({ command: "fetch", request: { page }, localKey, options: { queue } }) as const;
  const batchId = named("batch");
  const dependsOn = [{ localKey: "one" }, { localKey: "two" }];
  const items = [fetch(1, "one"), fetch(2, "two"), { command: "store", options: { queue, dependsOn } }];
  const batch = await client.enqueueBatch(items, { batchId });
  expect(
    "the local keys",
    batch.jobs.map(({ localKey }) => localKey),
    ["one", "two", undefined],
  );
  expect("the state of the third", batch.jobs[2]?.state, "blocked");
  await working(worker, async () => {
    const results: unknown[] = [];
    for (const job of batch.jobs) results.push(await client.wait(job));
    expect("the results", results, [{ page: 1 }, { page: 2 }, 2]);
    const { counts } = await client.getBatch(batchId);
    expect("the counts", [counts.total, counts.completed], [3, 3]);
    const found = (await client.listJobs({ batchId }).all()).map(({ id }) => id).sort();
    expect("the list", found, batch.jobs.map(({ id }) => id).sort());

    const bad = client.enqueueBatch([fetch(1, "same"), fetch(2, "same")], { batchId: named("bad") });
    const error = await expectError("two items of one key", InvalidArgumentError, bad);
    const fields = error.fields.map(({ field }) => field);
    expectThat(fields.includes("items[1].local_key"), `expected the field items[1].local_key, saw ${fields}`);
    await expectError("the bad batch", NotFoundError, client.getBatch(named("bad")));

    const [plain] = [await client.enqueueBatch([{ command: "fetch", request: { page: 3 }, options: { queue } }])];
    expectThat(plain.batchId !== "", "expected a batch id from the server, saw none");
    expect("its only job", await client.wait(plain.jobs[0] ?? ""), { page: 3 });
  });
});
