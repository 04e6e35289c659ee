"""A failed job runs again under the same id: see README.md."""

from __future__ import annotations

from stage import attempts_of, expect, expect_error, expect_that, play, working

from haulier import (
    AttemptOutcome,
    Client,
    FailedPreconditionError,
    Job,
    JobFailedError,
    JobOptions,
    JobState,
    NonRetryable,
    Worker,
)


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command("second-time")
    async def second_time(job: Job) -> str:
        if job.run == 1:
            raise NonRetryable("first run")
        return f"run {job.run}"

    async with working(worker):
        job = await client.enqueue("second-time", options=JobOptions(queue=queue))
        await expect_error("run 1", JobFailedError, client.wait(job))
        first = await client.requeue(job.id, run=1)
        again = await client.requeue(job.id, run=1)
        expect("the requeues", (first.job.run, first.created, again.job.run, again.created), (2, True, 2, False))
        expect("the result", await client.wait(job), "run 2")
        now, before = await client.get(job), await client.get(job, run=1)
        expect("the job", (now.state, now.summary.run), (JobState.COMPLETED, 2))
        error = before.failed and before.failed.error
        expect("its first run", (before.state, error and error.message), (JobState.FAILED, "first run"))
        attempts = await attempts_of(client, job.id)
        seen = [(one.run, one.outcome) for one in attempts]
        expect("the attempts", seen, [(1, AttemptOutcome.FAILED), (2, AttemptOutcome.COMPLETED)])
        expect_that(attempts[1].epoch > attempts[0].epoch, f"expected a larger epoch, saw {[one.epoch for one in attempts]}")
        refused = await expect_error("a requeue of a completed job", FailedPreconditionError, client.requeue(job.id))
        expect("its reason", refused.reason, "WRONG_STATE")


play(story)
