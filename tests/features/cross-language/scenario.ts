// A job enqueued in each language is run by a worker of each language: see README.md.
import { JobFailedError } from "haulier";
import { expect, expectError, expectThat, languages, play, WorkerProgram } from "../stage.js";

const REQUESTS: readonly unknown[] = [
  { text: "grüße, 世界 \u0000", n: 9007199254740991, x: 1.5, deep: [{ a: null }, [], {}], yes: true },
  7,
  "plain",
  false,
  undefined,
];

play("cross-language", async (client, name) => {
  const there = languages();
  expectThat(there.length > 0, "expected a worker program of some language, none is there");
  const talk = async (language: string) => {
    const queue = `${name}-${language}`;
    await WorkerProgram.during(language, queue, async (program) => {
      for (const request of REQUESTS) {
        const job = await client.enqueue("scenario.echo", request, { queue });
        const wanted = { language, request: request === undefined ? null : request };
        expect(`the echo of ${language}`, await client.wait(job), wanted);
      }
      const fail = await client.enqueue("scenario.fail", { code: "ACROSS", message: "not in any language" }, { queue });
      const error = await expectError(`the failure of ${language}`, JobFailedError, client.wait(fail));
      expect("its code and attempts", [error.jobCode, error.attempts], ["ACROSS", 1]);
      expect("its message", (await client.get(fail)).error?.message, "not in any language");
      program.send("SIGTERM");
      expect(`the exit code of ${language}`, await program.ended(), 0);
    });
  };
  await Promise.all(there.map(talk));
});
