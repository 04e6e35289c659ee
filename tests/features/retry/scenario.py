"""A handler fails twice and succeeds at the third attempt: see README.md."""

from __future__ import annotations

from typing import Any

from stage import attempts_of, expect, fixed, play, working

from haulier import AttemptOutcome, Client, Job, JobOptions, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def flaky(job: Job) -> dict[str, Any]:
        if job.attempt == 1:
            await job.save_checkpoint({"at": 1})
        if job.attempt < 3:
            raise ValueError("not yet")
        error = job.last_error
        return {"attempt": job.attempt, "checkpoint": job.checkpoint, "last_error": error.message if error else None}

    async with working(worker):
        job = await client.enqueue(flaky, options=JobOptions(queue=queue, retry_policy=fixed(3, 100)))
        wanted = {"attempt": 3, "checkpoint": {"at": 1}, "last_error": "not yet"}
        expect("the result", await client.wait(job), wanted)
        attempts = await attempts_of(client, job.id)
        expect("the attempts", [one.attempt for one in attempts], [1, 2, 3])
        failed, completed = AttemptOutcome.FAILED, AttemptOutcome.COMPLETED
        expect("their outcomes", [one.outcome for one in attempts], [failed, failed, completed])
        expect("their errors", [one.error and one.error.message for one in attempts], ["not yet", "not yet", None])
        epochs = [one.epoch for one in attempts]
        expect("their epochs, which grow", epochs, sorted(set(epochs)))


play(story)
