// Of two processes that have the same singleton, one works, and the other takes over: see README.md.
import { expect, expectThat, makeWorker, named, pause, play, present, until } from "../stage.js";

interface Run {
  readonly by: "X" | "Y";
  readonly begin: number;
  readonly end: number;
}

play("periodic-singleton", async (_, queue) => {
  const runs: Run[] = [];
  const make = (by: "X" | "Y") => {
    const worker = makeWorker(queue, {});
    worker.periodic(named("beat"), { period: 100, runAtStart: true, singleton: true }, async () => {
      const begin = performance.now();
      await pause(20);
      runs.push({ by, begin, end: performance.now() });
    });
    const run = worker.run();
    return {
      stop: async () => {
        await worker.stop();
        await run;
      },
    };
  };
  const workers = { X: make("X"), Y: make("Y") };
  await until("there are 10 runs", () => runs.length >= 10);
  const first = present("the last run", runs.at(-1)).by;
  const other = first === "X" ? "Y" : "X";
  expect("who did the first 10 runs", new Set(runs.slice(0, 10).map(({ by }) => by)), new Set([first]));
  await workers[first].stop();
  const stoppedAt = performance.now();
  await until("the other has run 3 times", () => runs.filter(({ by }) => by === other).length >= 3);
  const late = runs.filter(({ by, begin }) => by === first && begin > stoppedAt);
  expect("runs of the one that was stopped", late, []);
  await workers[other].stop();
  const count = runs.length;
  await pause(300);
  expect("runs after both were stopped", runs.length - count, 0);
  const ordered = [...runs].sort((a, b) => a.begin - b.begin);
  const overlaps = ordered.filter((run, index) => index > 0 && run.begin < (ordered[index - 1]?.end ?? 0));
  expectThat(overlaps.length === 0, `expected that no two runs overlap, saw ${JSON.stringify(overlaps)}`);
});
