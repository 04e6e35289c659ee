"""A handler that takes too long is told to stop, and the attempt is retried: see README.md."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from stage import attempts_of, expect, expect_that, fixed, play, working

from haulier import AttemptOutcome, Client, Job, JobOptions, StopKind, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])
    heard: list[StopKind | None] = []

    @worker.command
    async def slow(job: Job) -> str:
        if job.attempt == 2:
            return "second"
        try:
            await asyncio.Event().wait()
        finally:
            heard.append(job.stop.kind if job.stop else None)
        raise AssertionError("it waits for ever")

    async with working(worker):
        options = JobOptions(queue=queue, timeout=timedelta(seconds=1), retry_policy=fixed(1, 50))
        job = await client.enqueue(slow, options=options)
        expect("the result", await client.wait(job), "second")
        expect("what the handler heard", heard, [StopKind.TIMEOUT])
        attempts = await attempts_of(client, job.id)
        expect("the outcomes", [one.outcome for one in attempts], [AttemptOutcome.TIMED_OUT, AttemptOutcome.COMPLETED])
        began, ended = attempts[0].start_time, attempts[0].finish_time
        took = (ended - began).total_seconds() if began and ended else 0.0
        expect_that(1 <= took < 8, f"expected the first attempt to take 1 to 8 s, it took {took:.2f}")


play(story)
