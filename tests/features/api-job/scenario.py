"""The server itself calls an API, and stores what it answers: see README.md."""

from __future__ import annotations

from datetime import datetime, timedelta

from stage import RUN, expect, expect_error, expect_that, fixed, play

from haulier import ApiCall, Client, HttpEndpoint, InvalidArgumentError, JobFailedError, JobOptions, JobState
from haulier.v1 import recurring_task_service_pb2, schedule_pb2


async def story(client: Client, queue: str) -> None:
    def http(path: str) -> ApiCall:
        return ApiCall(target="scenario", http=HttpEndpoint(path=path, method="POST"))

    options = JobOptions(queue=queue, user_id="ann", user_claims={"role": "admin"})
    job = await client.enqueue_api(http("/echo"), {"order": 7}, options)
    answer = await client.wait(job)
    expect("the body that was sent", answer["body"], {"order": 7})
    expect_that(str(job.id) in answer["headers"].values(), f"expected a header with the job's id, saw {answer['headers']}")
    expect("the state", (await client.get(job)).state, JobState.COMPLETED)

    job = await client.enqueue_api(http("/refuse"), options=JobOptions(queue=queue, retry_policy=fixed(3, 50)))
    error = await expect_error("/refuse", JobFailedError, client.wait(job))
    expect("its code, reason and attempts", (error.error_code, error.failure, len(error.attempts)), ("HTTP_422", "api", 1))

    job = await client.enqueue_api(http(f"/fail-once/{RUN}"), options=JobOptions(queue=queue, retry_policy=fixed(2, 50)))
    expect("/fail-once", await client.wait(job), {"tries": 2})
    expect("its attempts", (await client.get(job)).summary.attempt, 2)

    schedule = schedule_pb2.Schedule(cron="0 3 * * *", time_zone="UTC")
    message = recurring_task_service_pb2.PreviewScheduleRequest(schedule=schedule, count=2)
    method = ApiCall(target="self", grpc_method="haulier.v1.RecurringTaskService/PreviewSchedule")
    answer = await client.wait(await client.enqueue_api(method, message, JobOptions(queue=queue)))
    times = [datetime.fromisoformat(time.replace("Z", "+00:00")) for time in answer["times"]]
    expect("the times", (len(times), times[1] - times[0]), (2, timedelta(days=1)))

    nowhere = client.enqueue_api(ApiCall(target="nowhere", http=HttpEndpoint(path="/")), options=JobOptions(queue=queue))
    refused = await expect_error("an unknown target", InvalidArgumentError, nowhere)
    expect("its field", [one.field for one in refused.fields], ["api.target"])


play(story)
