"""Several jobs are stored together, or none: see README.md."""

from __future__ import annotations

from stage import expect, expect_error, expect_that, jobs_of, named, play, working

from haulier import (
    Client,
    Dependency,
    EnqueueItem,
    InvalidArgumentError,
    Job,
    JobFilter,
    JobOptions,
    JobState,
    NotFoundError,
    Worker,
)


async def story(client: Client, queue: str) -> None:
    worker = Worker(queues=[queue])

    @worker.command
    async def fetch(page: int) -> dict[str, int]:
        return {"page": page}

    @worker.command
    async def store(job: Job) -> int:
        return len(job.parents)

    def item(key: str | None, page: int) -> EnqueueItem:
        return EnqueueItem(command="fetch", request={"page": page}, local_key=key, options=JobOptions(queue=queue))

    both = (Dependency(local_key="one"), Dependency(local_key="two"))
    last = EnqueueItem(command="store", options=JobOptions(queue=queue, depends_on=both))
    batch = await client.enqueue_batch([item("one", 1), item("two", 2), last], batch_id=named("batch"))
    expect("the local keys", [job.local_key for job in batch.jobs], ["one", "two", None])
    expect("the state of the third", batch.jobs[2].state, JobState.BLOCKED)
    async with working(worker):
        results = [await client.wait(job) for job in batch.jobs]
        expect("the results", results, [{"page": 1}, {"page": 2}, 2])
    counts = (await client.get_batch(named("batch"))).counts
    expect("the counts", (counts.total, counts.completed), (3, 3))
    listed = await jobs_of(client, JobFilter(batch_id=named("batch")))
    expect("the list", {job.id for job in listed}, {job.id for job in batch.jobs})

    bad = client.enqueue_batch([item("same", 1), item("same", 2)], batch_id=named("bad"))
    error = await expect_error("two items with one key", InvalidArgumentError, bad)
    fields = [one.field for one in error.fields]
    expect_that(
        any("items[1]" in field and "local_key" in field for field in fields), f"expected items[1].local_key, saw {fields}"
    )
    await expect_error("the bad batch", NotFoundError, client.get_batch(named("bad")))

    own = await client.enqueue_batch([item(None, 3)])
    expect_that(own.batch_id, "expected a batch id from the server, saw none")
    await client.cancel(own.jobs[0])


play(story)
