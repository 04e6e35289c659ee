// The worker program in TypeScript: see the README of the scenarios.
import { type Job, NonRetryable, Worker } from "haulier";

const language = "typescript";
const seconds = (variable: string, standard: number) => Number(process.env[variable] || standard) * 1_000;

const worker = new Worker({
  queues: [process.env.HAULIER_SCENARIO_QUEUE ?? ""],
  slots: 4,
  leaseTime: seconds("HAULIER_SCENARIO_LEASE_SECONDS", 5),
  drainTime: seconds("HAULIER_SCENARIO_DRAIN_SECONDS", 1),
});

/** Waits so long, or until the job is told to stop. */
function wait(job: Job, ms: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, Math.min(ms, 2 ** 31 - 1));
    job.signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(job.signal.reason);
    });
  });
}

worker.handle("scenario.echo", (_, request) => ({ language, request }));

worker.handle<{ seconds: number }>("scenario.work", async (job, request) => {
  job.log.info("working");
  await wait(job, request.seconds * 1_000);
  return { language, attempt: job.attempt };
});

worker.handle("scenario.hold", async (job) => {
  const { attempt, crashes, checkpoint } = job;
  if (checkpoint !== null) return { language, attempt, crashes, checkpoint };
  await job.saveCheckpoint({ by: language });
  job.log.info("holding");
  return wait(job, Number.POSITIVE_INFINITY);
});

worker.handle<{ code: string; message: string }>("scenario.fail", (_, { code, message }) => {
  throw new NonRetryable(message, { code });
});

const run = worker.run();
await worker.registered();
console.log("ready");
await run;
