"""A job runs only after its parents ended as it asks, and gets what they returned: see README.md."""

from __future__ import annotations

from typing import Any

from stage import expect, expect_error, expect_that, named, play, working

from haulier import (
    CancelReason,
    Client,
    Dependency,
    DependencyCondition,
    EnqueuedJob,
    InvalidArgumentError,
    Job,
    JobCancelledError,
    JobFailedError,
    JobOptions,
    JobState,
    NonRetryable,
    Worker,
)


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def produce(n: int) -> dict[str, int]:
        return {"value": 7}

    @worker.command
    async def consume(job: Job) -> dict[str, Any]:
        parent = job.parents[0]
        got = parent.result.value if parent.result else None
        asked = parent.request.value if parent.request else None
        return {"parent": parent.job_id, "got": got, "asked": asked}

    @worker.command
    async def doomed() -> None:
        raise NonRetryable("doomed")

    @worker.command
    async def note() -> str:
        return "ran"

    async def after(command: str, *parents: Dependency) -> EnqueuedJob:
        return await client.enqueue(command, options=JobOptions(queue=queue, depends_on=parents))

    finished, failure = DependencyCondition.FINISHED, DependencyCondition.FAILURE
    ref = named("doomed")
    a = await client.enqueue(produce, {"n": 1}, JobOptions(queue=queue))
    b = await after("consume", Dependency(job_id=a.id))
    f = await client.enqueue(doomed, options=JobOptions(queue=queue, ref_id=ref))
    c = await after("note", Dependency(job_id=f.id))
    d = await after("note", Dependency(job_id=c.id))
    e = await after("note", Dependency(ref_id=ref, condition=finished))
    g = await after("note", Dependency(job_id=f.id, condition=failure))
    h = await after("note", Dependency(job_id=a.id, condition=failure))
    expect("the states when enqueued", {one.state for one in (b, c, d, e, g, h)}, {JobState.BLOCKED})

    async with working(worker):
        wanted = {"parent": a.id, "got": {"value": 7}, "asked": {"n": 1}}
        expect("the result of B", await client.wait(b), wanted)
        expect("the parent of B", (await client.get(b)).summary.parent_id, a.id)
        await expect_error("F", JobFailedError, client.wait(f))
        for name, job in (("C", c), ("D", d), ("H", h)):
            error = await expect_error(name, JobCancelledError, client.wait(job))
            expect(f"the reason of {name}", error.cancel_reason, CancelReason.PARENT.value)
            expect_that(
                any(character.isdigit() for character in error.message), f"{name}: expected a job id in {error.message!r}"
            )
        expect("the results of E and G", [await client.wait(e), await client.wait(g)], ["ran", "ran"])
        i = await after("consume", Dependency(job_id=a.id))
        expect("the result of I", await client.wait(i), wanted)
        nowhere = after("note", Dependency(job_id=i.id + 1_000_000))
        refused = await expect_error("a parent that is nowhere", InvalidArgumentError, nowhere)
        expect("its reason", refused.reason, "PARENT_NOT_FOUND")


play(story)
