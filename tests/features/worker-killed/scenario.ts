// A worker process is killed, and a worker of another language goes on with its job: see README.md.
import { expect, expectThat, LANGUAGE, languages, play, WorkerProgram } from "../stage.js";

play("worker-killed", async (client, name) => {
  const others = languages().filter((language) => language !== LANGUAGE);
  const takeOver = async (other: string) => {
    const queue = `${name}-${other}`;
    await WorkerProgram.during(LANGUAGE, queue, async (first) => {
      const job = await client.enqueue("scenario.hold", undefined, { queue });
      for await (const event of client.watch(job)) {
        if (event.kind === "logs" && event.lines.some(({ message }) => message === "holding")) break;
      }
      await WorkerProgram.during(other, queue, async () => {
        first.send("SIGKILL");
        const result = (await client.wait(job, { timeout: "25s" })) as Record<string, unknown>;
        expect("who took over, with which checkpoint", [result.language, result.checkpoint], [other, { by: LANGUAGE }]);
        if ("crashes" in result) expect("crashes", result.crashes, 1);
        const attempts = await client.listAttempts(job).all();
        const outcomes = [attempts[0]?.outcome, attempts.at(-1)?.outcome];
        expect("the first and the last attempt", outcomes, ["crashed", "completed"]);
        const [old = 0, fresh = 0] = [attempts[0]?.epoch, attempts.at(-1)?.epoch];
        expectThat(fresh > old, `expected a larger epoch than ${old}, saw ${fresh}`);
      });
    });
  };
  await Promise.all((others.length > 0 ? others : [LANGUAGE]).map(takeOver));
});
