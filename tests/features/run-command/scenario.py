"""A command runs now, nothing is stored, errors come back: see README.md."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from stage import expect, expect_error, expect_that, jobs_of, named, play, until, working

from haulier import (
    CancelResult,
    Client,
    Job,
    JobFailedError,
    JobFilter,
    JobOptions,
    JobState,
    NonRetryable,
    UnavailableError,
    Worker,
)


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def double(n: int) -> int:
        return 2 * n

    @worker.command
    async def charge() -> None:
        raise NonRetryable("no such account", code="NO_ACCOUNT")

    @worker.command
    async def endless(job: Job) -> None:
        await asyncio.Event().wait()

    here = JobOptions(queue=queue)
    async with working(worker):
        expect("double", await client.run_command(double, {"n": 4}, here, result_type=int), 8)
        error = await expect_error("charge", JobFailedError, client.run_command(charge, options=here))
        expect("its code", error.error_code, "NO_ACCOUNT")
        short = JobOptions(queue=queue, timeout=timedelta(seconds=1))
        error = await expect_error("endless", JobFailedError, client.run_command(endless, options=short))
        expect("its reason", error.failure, "timeout")

        ref = named("endless")
        started = await client.start_command(endless, options=JobOptions(queue=queue, ref_id=ref))
        expect("its ref id", started.ref_id, ref)

        async def is_now(state: JobState) -> bool:
            summary = (await client.get(ref)).summary
            expect("transient, and its id", (summary.transient, summary.id), (True, 0))
            return summary.state is state

        await until("the run runs", lambda: is_now(JobState.RUNNING))
        answer = await client.cancel(ref, "enough")
        expect("the cancel", answer.result, CancelResult.REQUESTED)
        await until("the run is cancelled", lambda: is_now(JobState.CANCELLED))

        nobody = client.run_command("nobody-serves-this", options=here)
        refused = await expect_error("a command that nobody serves", UnavailableError, asyncio.wait_for(nobody, 40))
        expect("its reason", refused.reason, "NO_WORKER_HERE")
        listed = await jobs_of(client, JobFilter(queue=queue))
        expect_that(not listed, f"expected nothing stored, saw {listed}")


play(story)
