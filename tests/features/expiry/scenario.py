"""A job that was not started in time is cancelled: see README.md."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

from stage import attempts_of, expect, expect_error, expect_that, play, working

from haulier import Client, JobCancelledError, JobOptions, JobState, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])
    ran: list[str] = []

    @worker.command
    async def stale() -> None:
        ran.append("stale")

    @worker.command
    async def fresh() -> str:
        return "fresh"

    now, began = datetime.now(timezone.utc), time.monotonic()
    job = await client.enqueue(stale, options=JobOptions(queue=queue, expire_time=now + timedelta(seconds=1)))
    error = await expect_error("the stale job", JobCancelledError, client.wait(job))
    took = time.monotonic() - began
    expect_that(took < 10, f"expected it to expire within 10 s, it took {took:.1f}")
    expect("its reason", error.cancel_reason, "expired")
    expect("its state", (await client.get(job)).state, JobState.CANCELLED)
    expect("its attempts", await attempts_of(client, job.id), [])
    async with working(worker):
        later = JobOptions(queue=queue, expire_time=now + timedelta(hours=1))
        expect("the fresh job", await client.wait(await client.enqueue(fresh, options=later)), "fresh")
    expect("what ran of the stale", ran, [])


play(story)
