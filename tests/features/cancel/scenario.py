"""A running job is cancelled, and its handler hears of it; a waiting one never starts: see README.md."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from stage import attempts_of, expect, expect_error, expect_that, play, working

from haulier import CancelReason, CancelResult, Client, Job, JobCancelledError, JobOptions, JobState, StopKind, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])
    heard: list[tuple[StopKind, str, float]] = []

    @worker.command
    async def endless(job: Job) -> None:
        await job.log("running")
        try:
            await asyncio.Event().wait()
        finally:
            if job.stop:
                heard.append((job.stop.kind, job.stop.reason, time.monotonic()))

    async with working(worker):
        job = await client.enqueue(endless, options=JobOptions(queue=queue))
        async for event in client.watch(job):
            if event.kind == "logs" and any(line.message == "running" for line in event.lines):
                break
        answer = await client.cancel(job, "no longer needed")
        asked = time.monotonic()
        expect("the cancel", answer.result, CancelResult.REQUESTED)
        error = await expect_error("the wait", JobCancelledError, client.wait(job))
        expect("what the handler heard", [one[:2] for one in heard], [(StopKind.CANCEL, "no longer needed")])
        late = heard[0][2] - asked
        expect_that(late < 2, f"expected the handler to hear of it within 2 s, it took {late:.2f}")
        expect("the reason", (error.cancel_reason, error.message), ("client", "no longer needed"))
        summary = (await client.get(job)).summary
        expect("its state", (summary.state, summary.cancel_reason), (JobState.CANCELLED, CancelReason.CLIENT))

        waiting = await client.enqueue(endless, options=JobOptions(queue=queue, delay=timedelta(hours=1)))
        answer = await client.cancel(waiting, "changed my mind")
        expect("the second cancel", (answer.result, answer.job.state), (CancelResult.CANCELLED, JobState.CANCELLED))
        expect("the repeat", (await client.cancel(waiting)).result, CancelResult.ALREADY_FINISHED)
        expect("its attempts", await attempts_of(client, waiting.id), [])


play(story)
