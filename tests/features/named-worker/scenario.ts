// Jobs of a named worker run strictly one at a time, in order, over all worker processes: see README.md.
import { defineCommand, type EnqueuedJob, type Job } from "haulier";
import { expect, expectThat, makeWorker, named, pause, play, working } from "../stage.js";

interface Step {
  readonly command: string;
  readonly n: number;
  readonly by: string;
  readonly begin: number;
  readonly end: number;
}

play("named-worker", async (client, queue) => {
  const steps: Step[] = [];
  const declared = defineCommand<{ n: number }, number>({ name: "declared", worker: named("declared") });
  const makeOne = (by: string) => {
    const step = async (job: Job, { n }: { n: number }) => {
      const begin = performance.now();
      await pause(20);
      steps.push({ command: job.options.worker ? job.command : "none", n, by, begin, end: performance.now() });
      return n;
    };
    return makeWorker(queue, { step }, { slots: 5, commands: [declared.handle(step)] });
  };
  const alone = (command: string, count: number) => {
    const ran = steps.filter((step) => step.command === command).sort((a, b) => a.begin - b.begin);
    expect(
      `the order of ${command}`,
      ran.map(({ n }) => n),
      Array.from({ length: count }, (_, n) => n),
    );
    const overlaps = ran.filter((step, index) => index > 0 && step.begin < (ran[index - 1]?.end ?? 0));
    expectThat(overlaps.length === 0, `expected that no two of ${command} overlap, saw ${JSON.stringify(overlaps)}`);
  };
  await working(makeOne("one"), () =>
    working(makeOne("two"), async () => {
      const lane: EnqueuedJob[] = [];
      for (let n = 0; n < 20; n++) lane.push(await client.enqueue("step", { n }, { queue, worker: named("lane") }));
      const own: EnqueuedJob[] = [];
      for (let n = 0; n < 5; n++) own.push(await client.enqueue(declared, { n }, { queue }));
      const free = await client.enqueue(declared, { n: 5 }, { queue, worker: "" });
      for (const job of [...lane, ...own, free]) await client.wait(job);
      alone("step", 20);
      alone("declared", 5);
      const workerOf = async (job: EnqueuedJob) => (await client.get(job)).summary.worker;
      for (const job of lane) expect("the named worker of step", await workerOf(job), named("lane"));
      for (const job of own) expect("the named worker of declared", await workerOf(job), named("declared"));
      expect("the named worker of the last", await workerOf(free), undefined);
    }),
  );
});
