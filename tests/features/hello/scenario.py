"""A job is enqueued, run, and its result read back: see README.md."""

from __future__ import annotations

from stage import attempts_of, expect, jobs_of, named, play, working

from haulier import AttemptOutcome, Client, JobFilter, JobOptions, JobState, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue], slots=1)

    @worker.command
    async def hello(name: str) -> str:
        return f"hello, {name}"

    async with working(worker):
        tag = named("hello")
        job = await client.enqueue(hello, {"name": "Ann"}, JobOptions(queue=queue, tag=tag))
        expect("created", job.created, True)
        expect("the result", await client.wait(job), "hello, Ann")
        for key in (job.id, job.ref_id):
            full = await client.get(key)
            expect(f"the job by {key!r}", full.summary.id, job.id)
            expect("its state", full.state, JobState.COMPLETED)
            expect("its result", full.result, "hello, Ann")
            expect("its request", full.request.value if full.request else None, {"name": "Ann"})
            expect("its tag, run and attempt", (full.summary.tag, full.summary.run, full.summary.attempt), (tag, 1, 1))
        expect("the list", [one.id for one in await jobs_of(client, JobFilter(queue=queue))], [job.id])
        expect("its attempts", [one.outcome for one in await attempts_of(client, job.id)], [AttemptOutcome.COMPLETED])


play(story)
