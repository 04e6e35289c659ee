// A job runs on behalf of a user, and so does what it enqueues: see README.md.
import { randomBytes } from "node:crypto";
import { expect, makeWorker, play, working } from "../stage.js";

play("user-context", async (client, queue) => {
  const worker = makeWorker(queue, {
    outer: async (job) => {
      const first = await job.enqueue("inner", undefined, { queue });
      const second = await job.enqueue("inner", undefined, { queue, userId: "bob" });
      return { user: job.userId, claims: job.userClaims, children: [first.id, second.id] };
    },
    inner: (job) => ({
      user: job.userId,
      claims: job.userClaims,
      parent: job.parent?.id,
      trace: job.options.traceparent,
    }),
  });
  await working(worker, async () => {
    const trace = randomBytes(16).toString("hex");
    const traceparent = `00-${trace}-${randomBytes(8).toString("hex")}-01`;
    const user = { userId: "ann", userClaims: { role: "admin" } };
    const job = await client.enqueue("outer", undefined, { queue, traceparent, ...user });
    const { user: seen, claims, children } = (await client.wait(job)) as Seen & { children: [string, string] };
    expect("the user of outer", [seen, claims], ["ann", { role: "admin" }]);
    const [first, second] = children;
    const ofFirst = (await client.wait(first)) as Seen;
    const wanted = ["ann", { role: "admin" }, job.id, trace];
    expect("the first child", [ofFirst.user, ofFirst.claims, ofFirst.parent, ofFirst.trace.slice(3, 35)], wanted);
    const ofSecond = (await client.wait(second)) as Seen;
    const other = [ofSecond.user, ofSecond.claims, ofSecond.parent, ofSecond.trace.slice(3, 35)];
    expect("the second child", other, ["bob", {}, job.id, trace]);
    const found = await client.listJobs({ userId: "ann", queue }).all();
    expect("the jobs of ann", found.map(({ id }) => id).sort(), [job.id, first].sort());
  });
});

interface Seen {
  readonly user: string;
  readonly claims: unknown;
  readonly parent: string;
  readonly trace: string;
}
