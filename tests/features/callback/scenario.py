"""Another command receives the result, and its failure changes nothing: see README.md."""

from __future__ import annotations

from typing import Any

from stage import expect, expect_that, named, play, working

from haulier import Callback, Client, EnqueuedJob, Job, JobOptions, JobResult, JobState, NonRetryable, WatchUntil, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def render() -> dict[str, str]:
        return {"file": "a.png"}

    @worker.command
    async def rendered(job: Job) -> dict[str, Any]:
        return {
            "request": job.request,
            "args": dict(job.args),
            "tag": job.options.tag,
            "user": job.user_id,
            "parent": job.parents[0].job_id,
        }

    @worker.command
    async def stumble(job: Job) -> None:
        raise NonRetryable("stumbled")

    async def to_the_end(job: EnqueuedJob) -> JobResult:
        async for _ in client.watch(job, until=WatchUntil.NOTIFIED):
            pass
        return await client.get(job)

    async with working(worker):
        options = JobOptions(
            queue=queue,
            callback=Callback(command="rendered", args={"page": "1"}),
            args={"tenant": "7"},
            tag=named("tag"),
            user_id="ann",
        )
        job = await client.enqueue(render, options=options)
        ended = await to_the_end(job)
        expect("the state", ended.state, JobState.COMPLETED)
        expect_that(ended.summary.notify_time, "expected a notify time, saw none")
        called = ended.summary.callback_job_id
        expect_that(called, "expected the id of the callback's job, saw none")
        assert called
        expect("the parent of the callback's job", (await client.get(called)).summary.parent_id, job.id)
        wanted = {
            "request": {"file": "a.png"},
            "args": {"tenant": "7", "page": "1"},
            "tag": named("tag"),
            "user": "ann",
            "parent": job.id,
        }
        expect("what the callback got", await client.wait(called), wanted)

        job = await client.enqueue(render, options=JobOptions(queue=queue, callback=Callback(command="stumble")))
        ended = await to_the_end(job)
        expect("the state of the second", (ended.state, ended.result), (JobState.COMPLETED, {"file": "a.png"}))
        error = ended.summary.callback_error or ""
        expect_that("stumbled" in error, f"expected the callback's error, saw {error!r}")
        assert ended.summary.callback_job_id
        expect("its callback's job", (await client.get(ended.summary.callback_job_id)).state, JobState.FAILED)


play(story)
