"""The three ways to fail for good: see README.md."""

from __future__ import annotations

from stage import expect, expect_error, expect_that, fixed, play, working

from haulier import Client, JobFailedError, JobOptions, JobState, NonRetryable, RetryPolicy, Worker


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def broken() -> None:
        raise ValueError("it broke")

    @worker.command
    async def charge() -> None:
        raise NonRetryable("no such account", code="NO_ACCOUNT")

    @worker.command
    async def count(count: int) -> int:
        return count

    async with working(worker):
        job = await client.enqueue(broken, options=JobOptions(queue=queue, retry_policy=fixed(1, 50)))
        error = await expect_error("broken", JobFailedError, client.wait(job))
        expect("broken: message", error.message, "it broke")
        expect("broken: attempts", (error.attempt_count, len(error.attempts)), (2, 2))
        expect("broken: reason", error.failure, "handler")
        expect("broken: state", error.job and error.job.state, JobState.FAILED)
        expect_that("it broke" in error.stack, f"broken: expected a stack, saw {error.stack!r}")

        never = JobOptions(queue=queue, retry_policy=RetryPolicy(retry_limit=5))
        error = await expect_error("charge", JobFailedError, client.wait(await client.enqueue(charge, options=never)))
        seen = (error.error_code, error.message, error.failure, len(error.attempts))
        expect("charge", seen, ("NO_ACCOUNT", "no such account", "non_retryable", 1))

        job = await client.enqueue(count, {"count": "many"}, never)
        error = await expect_error("count", JobFailedError, client.wait(job))
        expect("count: reason and attempts", (error.failure, len(error.attempts)), ("unreadable_request", 1))
        expect_that("count" in error.message, f"count: expected a message that names the field, saw {error.message!r}")


play(story)
