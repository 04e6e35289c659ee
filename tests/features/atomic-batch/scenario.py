"""What a handler enqueues counts only if it succeeds: see README.md."""

from __future__ import annotations

from stage import attempts_of, expect, expect_error, expect_that, jobs_of, named, play, until, working

from haulier import (
    Batch,
    CancelReason,
    Client,
    Dependency,
    Job,
    JobFailedError,
    JobFilter,
    JobOptions,
    JobState,
    NonRetryable,
    Worker,
)


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    def batch_of(fail: bool) -> str:
        return f"{named('atomic')}-{str(fail).lower()}"

    @worker.command
    async def outer(job: Job, fail: bool) -> dict[str, int]:
        itself = (Dependency(job_id=job.id),)
        child = await job.enqueue("inner", options=JobOptions(queue=queue, batch_id=batch_of(fail), depends_on=itself))
        job.enqueue_with_outcome("inner", options=JobOptions(queue=queue, batch_id=batch_of(fail)))
        if fail:
            raise NonRetryable("as asked")
        return {"child": child.id}

    @worker.command
    async def inner() -> str:
        return "ran"

    async def finished(fail: bool) -> Batch | None:
        batch = await client.get_batch(batch_of(fail))
        return batch if batch.finish_time else None

    async with working(worker):
        job = await client.enqueue(outer, {"fail": False}, JobOptions(queue=queue))
        child = (await client.wait(job))["child"]
        counts = (await until("the first batch is finished", lambda: finished(False))).counts
        expect("the first batch", (counts.total, counts.completed), (2, 2))
        ended = (await client.get(job)).summary.finish_time
        inners = await jobs_of(client, JobFilter(batch_id=batch_of(False)))
        expect_that(child in {one.id for one in inners}, f"expected {child} in the batch, saw {inners}")
        expect("the parents", {one.parent_id for one in inners}, {job.id})
        early = [one.id for one in inners if not (one.start_time and ended and one.start_time >= ended)]
        expect("inner jobs that started before the outer ended", early, [])

        job = await client.enqueue(outer, {"fail": True}, JobOptions(queue=queue))
        await expect_error("the outer that fails", JobFailedError, client.wait(job))
        counts = (await until("the second batch is finished", lambda: finished(True))).counts
        expect("the second batch", (counts.total, counts.cancelled), (1, 1))
        (gone,) = await jobs_of(client, JobFilter(batch_id=batch_of(True)))
        expect("its job", (gone.state, gone.cancel_reason), (JobState.CANCELLED, CancelReason.PARENT))
        expect("its attempts", await attempts_of(client, gone.id), [])


play(story)
