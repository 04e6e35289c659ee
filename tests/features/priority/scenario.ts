// Higher priority first; within a priority, first come, first served: see README.md.
import type { EnqueuedJob, Priority } from "haulier";
import { expect, makeWorker, play, working } from "../stage.js";

play("priority", async (client, queue) => {
  const ran: string[] = [];
  const worker = makeWorker(
    queue,
    {
      note: (_, { label }: { label: string }) => {
        ran.push(label);
        return label;
      },
    },
    { slots: 1 },
  );
  const wanted: readonly (readonly [label: string, priority: Priority | undefined])[] = [
    ["low", "low"],
    ["normal 1", "normal"],
    ["high", "high"],
    ["normal 2", undefined],
    ["top", 30],
    ["above", "above_normal"],
    ["below", "below_normal"],
  ];
  const jobs: EnqueuedJob[] = [];
  for (const [label, priority] of wanted) {
    jobs.push(await client.enqueue("note", { label }, { queue, ...(priority !== undefined && { priority }) }));
  }
  await working(worker, async () => {
    for (const job of jobs) await client.wait(job);
    expect("the order", ran, ["top", "high", "above", "normal 1", "normal 2", "below", "low"]);
    const found = await client.listJobs({ queue }).all();
    const priorities = found.map(({ priority }) => priority).sort((a, b) => b - a);
    expect("the priorities", priorities, [30, 25, 20, 15, 15, 10, 5]);
  });
});
