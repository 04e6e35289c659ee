// The server itself calls an API, and stores what it answers: see README.md.
import { InvalidArgumentError, JobFailedError } from "haulier";
import { expect, expectError, expectThat, fixed, play, RUN } from "../stage.js";

play("api-job", async (client, queue) => {
  const scenario = (path: string) => ({ target: "scenario", path, method: "POST" }) as const;
  const user = { userId: "ann", userClaims: { role: "admin" } };
  const echo = await client.enqueueApi(scenario("/echo"), { order: 7 }, { queue, ...user });
  const answer = (await client.wait(echo)) as { body: unknown; headers: Record<string, string> };
  expect("the body", answer.body, { order: 7 });
  const values = Object.values(answer.headers);
  expectThat(values.includes(echo.id), `expected a header with the id ${echo.id}, saw ${values}`);
  expect("the state", (await client.get(echo)).summary.state, "completed");

  const refuse = await client.enqueueApi(scenario("/refuse"), null, { queue, retryPolicy: { retryLimit: 3 } });
  const { jobCode, failureReason, attempts } = await expectError("/refuse", JobFailedError, client.wait(refuse));
  expect("/refuse", [jobCode, failureReason, attempts], ["HTTP_422", "api", 1]);

  const retried = scenario(`/fail-once/${RUN}`);
  const once = await client.enqueueApi(retried, null, { queue, retryPolicy: fixed(2, 50) });
  expect("/fail-once", await client.wait(once), { tries: 2 });
  expect("its attempts", (await client.listAttempts(once).all()).length, 2);

  const grpcMethod = "haulier.v1.RecurringTaskService/PreviewSchedule";
  const preview = { schedule: { cron: "0 3 * * *", timeZone: "UTC" }, count: 2 };
  const self = await client.enqueueApi({ target: "self", grpcMethod }, preview, { queue });
  const { times } = (await client.wait(self)) as { times: string[] };
  const [first = "", second = ""] = times;
  const hours = (Date.parse(second) - Date.parse(first)) / 3_600_000;
  expect("the times of the schedule", [times.length, hours], [2, 24]);

  const nowhere = client.enqueueApi({ target: "nowhere", path: "/" }, null, { queue });
  const error = await expectError("an unknown target", InvalidArgumentError, nowhere);
  const fields = error.fields.map(({ field }) => field);
  expectThat(fields.includes("api.target"), `expected the field api.target, saw ${fields}`);
});
