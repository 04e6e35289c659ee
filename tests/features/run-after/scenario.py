"""A job does not start before a time; a time that has passed means now: see README.md."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from stage import attempts_of, expect, expect_that, play, working

from haulier import Client, JobOptions, JobState, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def later() -> str:
        return "done"

    async with working(worker):
        now = datetime.now(timezone.utc)
        due = now + timedelta(seconds=2)
        job = await client.enqueue(later, options=JobOptions(queue=queue, run_after=due))
        expect("the state of the first", job.state, JobState.SCHEDULED)
        past = await client.enqueue(later, options=JobOptions(queue=queue, run_after=now - timedelta(hours=1)))
        expect_that(past.state in (JobState.QUEUED, JobState.RUNNING), f"expected the second to be queued, it is {past.state}")
        expect("the results", [await client.wait(past), await client.wait(job)], ["done", "done"])
        started = (await attempts_of(client, job.id))[0].start_time
        ended = (await client.get(past)).summary.finish_time
        expect_that(started and started >= due, f"expected a start at or after {due}, it started at {started}")
        expect_that(started and ended and ended < started, f"expected the past one to end before {started}, it ended {ended}")


play(story)
