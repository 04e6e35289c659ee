"""Progress, status and log lines are seen live, in order, and afterwards: see README.md."""

from __future__ import annotations

import asyncio

from stage import expect, expect_that, play, working

from haulier import Client, Job, JobOptions, JobState, LogLevel, WatchEvent, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue], slots=1)

    @worker.command
    async def report(job: Job) -> dict[str, int]:
        await job.progress(0.25, "a quarter")
        await job.log("line 1", fields={"n": 1})
        await job.log("line 2", level=LogLevel.WARN)
        await job.log("line 3", level=LogLevel.ERROR)
        await asyncio.sleep(1)
        await job.progress(0.75, "three quarters")
        await asyncio.sleep(1)
        return {"lines": 3}

    job = await client.enqueue(report, options=JobOptions(queue=queue))
    events: list[WatchEvent] = []
    began = asyncio.Event()

    async def watch() -> None:
        async for event in client.watch(job):
            events.append(event)
            began.set()

    watching = asyncio.create_task(watch())
    await began.wait()
    async with working(worker):
        await watching

    first, last = events[0], events[-1]
    expect("the first event", (first.kind, first.kind == "snapshot" and first.job.state), ("snapshot", JobState.QUEUED))
    states = {event.job.state for event in events if event.kind in ("state", "snapshot")}
    expect_that(JobState.RUNNING in states, f"expected to see the job running, saw the states {states}")
    progress = [(event.progress, event.status, event.progress_estimated) for event in events if event.kind == "progress"]
    told = [one for one in progress if one[0] in (0.25, 0.75)]
    expect("the progress", list(dict.fromkeys(told)), [(0.25, "a quarter", False), (0.75, "three quarters", False)])
    wanted = [("line 1", LogLevel.INFO), ("line 2", LogLevel.WARN), ("line 3", LogLevel.ERROR)]
    lines = [line for event in events if event.kind == "logs" for line in event.lines]
    expect("the lines of the watch", [(line.message, line.level) for line in lines], wanted)
    expect("the field of the first", dict(lines[0].fields), {"n": "1"})
    expect("the last event", (last.kind, last.kind == "snapshot" and last.job.state), ("snapshot", JobState.COMPLETED))
    expect("its result", last.kind == "snapshot" and last.job.result, {"lines": 3})
    kept = [line async for line in client.list_logs(job.id)]
    expect("the lines kept", [(line.message, line.level) for line in kept], wanted)
    expect("their sequences", [line.sequence for line in kept], [1, 2, 3])


play(story)
