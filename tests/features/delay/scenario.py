"""A delayed job does not start before its time: see README.md."""

from __future__ import annotations

from datetime import timedelta

from stage import attempts_of, expect, expect_that, play, working

from haulier import Client, JobOptions, JobState, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def later() -> str:
        return "done"

    async with working(worker):
        job = await client.enqueue(later, options=JobOptions(queue=queue, delay=timedelta(seconds=1.5)))
        expect("its state", job.state, JobState.SCHEDULED)
        expect("the result", await client.wait(job), "done")
        stored = (await client.get(job)).summary.create_time
        started = (await attempts_of(client, job.id))[0].start_time
        waited = (started - stored).total_seconds() if started and stored else 0.0
        expect_that(1.5 <= waited < 10, f"expected it to wait 1.5 to 10 s, it waited {waited:.3f}")


play(story)
