"""A task recurs by itself, and on request: see README.md."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from stage import expect, expect_error, expect_that, jobs_of, named, play, until, working

from haulier import (
    Client,
    InvalidArgumentError,
    Job,
    JobFilter,
    JobOptions,
    JobState,
    NotFoundError,
    PutResult,
    RecurringTask,
    Schedule,
    Worker,
)


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def tick(job: Job) -> str | None:
        return job.recurring_task

    name = named("task")
    task = RecurringTask(
        name=name,
        command="tick",
        schedule=Schedule(interval=timedelta(seconds=1)),
        options=JobOptions(queue=queue, tag=name),
    )
    async with working(worker):
        expect("the first put", (await client.put_recurring_task(task)).result, PutResult.CREATED)
        expect("the second put", (await client.put_recurring_task(task)).result, PutResult.UNCHANGED)

        async def has_run_twice() -> RecurringTask | None:
            now = await client.get_recurring_task(name)
            return now if now.run_count >= 2 else None

        run = await until("the task has run twice", has_run_twice)
        assert run.last_job_id
        expect("the result of a run", await client.wait(run.last_job_id), name)

        paused = await client.pause_recurring_task(name, "upgrade")
        expect("paused", (paused.paused, paused.pause_reason, paused.next_time), (True, "upgrade", None))
        request_id = str(uuid.uuid4())
        first = await client.trigger_recurring_task(name, request_id=request_id)
        second = await client.trigger_recurring_task(name, request_id=request_id)
        expect("the triggers", (first.created, second.created, second.job_id), (True, False, first.job_id))
        assert first.job_id
        expect("the result of the trigger", await client.wait(first.job_id), name)
        jobs = await jobs_of(client, JobFilter(recurring_task=name))
        expect_that(len(jobs) >= 3, f"expected at least 3 jobs of the task, saw {len(jobs)}")
        bad = [job for job in jobs if job.state in (JobState.FAILED, JobState.CANCELLED)]
        expect("the jobs of the task that went wrong", bad, [])

        expect_that((await client.resume_recurring_task(name)).next_time, "expected a next time after resume, saw none")
        await client.delete_recurring_task(name)
        await expect_error("the deleted task", NotFoundError, client.get_recurring_task(name))

    preview = await client.preview_schedule(Schedule(cron="0 3 * * *", time_zone="Europe/Vienna"), 5)
    hours = [datetime.fromisoformat(time.partition("[")[0]).strftime("%H:%M:%S") for time in preview.local_times]
    expect("the preview", hours, ["03:00:00"] * 5)
    never = client.preview_schedule(Schedule(cron="0 0 30 2 *"))
    await expect_error("30 February", InvalidArgumentError, never)


play(story)
