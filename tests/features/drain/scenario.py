"""SIGTERM lets a worker process finish what it can, and gives the rest back unspent: see README.md."""

from __future__ import annotations

import asyncio
import signal

from stage import LANGUAGE, WorkerProgram, attempts_of, expect, play

from haulier import AttemptOutcome, Client, EnqueuedJob, JobOptions, JobState


async def story(client: Client, queue: str) -> None:
    options = JobOptions(queue=queue)

    async def says(job: EnqueuedJob, text: str) -> None:
        async for event in client.watch(job):
            if event.kind == "logs" and any(line.message == text for line in event.lines):
                return

    async with WorkerProgram(LANGUAGE, queue, drain_seconds=4) as program:
        work = await client.enqueue("scenario.work", {"seconds": 2}, options)
        hold = await client.enqueue("scenario.hold", options=options)
        await asyncio.gather(says(work, "working"), says(hold, "holding"))
        program.send(signal.SIGTERM)
        await client.wait(work)  # what is enqueued before the signal is heard may still be taken
        late = await client.enqueue("scenario.echo", {"late": True}, options)
        expect("the exit code", await program.ended(), 0)
    ended = await client.get(work)
    expect("the job that could end", (ended.state, ended.result), (JobState.COMPLETED, {"language": LANGUAGE, "attempt": 1}))
    states = [(await client.get(job)).state for job in (hold, late)]
    expect("the other jobs", states, [JobState.QUEUED, JobState.QUEUED])

    async with WorkerProgram(LANGUAGE, queue):
        result = await client.wait(hold)
        expect("the attempt and checkpoint", (result["attempt"], result["checkpoint"]), (1, {"by": LANGUAGE}))
        expect("the late job", (await client.wait(late))["request"], {"late": True})
    outcomes = [one.outcome for one in await attempts_of(client, hold.id)]
    expect("the attempts of the job that was given back", outcomes, [AttemptOutcome.RELEASED, AttemptOutcome.COMPLETED])


play(story)
