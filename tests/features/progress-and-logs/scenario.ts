// Progress, status and log lines are seen live, in order, and afterwards: see README.md.
import type { WatchEvent } from "haulier";
import { expect, expectThat, makeWorker, pause, play, working } from "../stage.js";

play("progress-and-logs", async (client, queue) => {
  const worker = makeWorker(
    queue,
    {
      report: async (job) => {
        job.progress(0.25, "a quarter");
        job.log.info("line 1", { n: "1" });
        job.log.warn("line 2");
        job.log.error("line 3");
        await pause(1_000);
        job.progress(0.75, "three quarters");
        await pause(1_000);
        return { lines: 3 };
      },
    },
    { slots: 1 },
  );
  const job = await client.enqueue("report", undefined, { queue });
  const watch = client.watch(job);
  const events: WatchEvent[] = [];
  const first = await watch.next();
  if (!first.done) events.push(first.value);
  await working(worker, async () => {
    for await (const event of watch) events.push(event);
    const [begin] = events;
    expect("the first event", begin?.kind === "snapshot" && begin.job.summary.state, "queued");
    const states = events.flatMap((event) => {
      if (event.kind === "snapshot") return [event.job.summary.state];
      return event.kind === "state" ? [event.job.state] : [];
    });
    expectThat(states.includes("running"), `expected a state event or snapshot with running, saw ${states}`);
    const progress = events.flatMap((event) => {
      if (event.kind === "progress") return [[event.fraction, event.status, event.estimated]];
      const job = event.kind === "state" ? event.job : event.kind === "snapshot" ? event.job.summary : undefined;
      return job?.progress === undefined || job.state !== "running"
        ? []
        : [[job.progress, job.status, job.progressEstimated]];
    });
    const changes = progress.filter((each, index) => String(each) !== String(progress[index - 1]));
    expect("progress", changes, [
      [0.25, "a quarter", false],
      [0.75, "three quarters", false],
    ]);
    const lines = events.flatMap((event) => (event.kind === "logs" ? event.lines : []));
    const written = [
      ["info", "line 1", { n: "1" }],
      ["warn", "line 2", {}],
      ["error", "line 3", {}],
    ];
    expect(
      "the lines",
      lines.map(({ level, message, fields }) => [level, message, { ...fields }]),
      written,
    );
    const last = events.at(-1);
    const outcome = last?.kind === "snapshot" ? [last.job.summary.state, last.job.result] : last?.kind;
    expect("the last event", outcome, ["completed", { lines: 3 }]);
    const stored = await client.listLogs(job).all();
    expect(
      "the stored lines",
      stored.map(({ sequence, level, message, fields }) => [sequence, level, message, { ...fields }]),
      written.map((line, index) => [index + 1, ...line]),
    );
  });
});
