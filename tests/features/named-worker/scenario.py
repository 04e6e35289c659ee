"""Jobs of a named worker run strictly one at a time, in order, over all worker processes: see README.md."""

from __future__ import annotations

import asyncio
import itertools
import time

from stage import expect, expect_that, named, play, working

from haulier import Client, EnqueuedJob, JobOptions, Worker

Note = tuple[str, int, float, float]


async def story(client: Client, queue: str) -> None:
    notes: list[Note] = []
    declared = named("declared")

    def worker() -> Worker:
        made = Worker(queues=[queue], slots=5)

        async def note(command: str, n: int) -> int:
            began = time.monotonic()
            await asyncio.sleep(0.02)
            notes.append((command, n, began, time.monotonic()))
            return n

        @made.command("step")
        async def step(n: int) -> int:
            return await note("step", n)

        @made.command("declared", worker=declared)
        async def in_declared(n: int) -> int:
            return await note("declared", n)

        return made

    lane = named("lane")
    async with working(worker()), working(worker()):
        steps = [await client.enqueue("step", {"n": n}, JobOptions(queue=queue, worker=lane)) for n in range(20)]
        others = [await client.enqueue("declared", {"n": n}, JobOptions(queue=queue)) for n in range(5)]
        free = await client.enqueue("declared", {"n": 5}, JobOptions(queue=queue, worker=""))
        for job in [*steps, *others, free]:
            await client.wait(job)

    def one_at_a_time(command: str, count: int) -> None:
        its = sorted((one for one in notes if one[0] == command and one[1] < count), key=lambda one: one[2])
        expect(f"the order of {command}", [n for _, n, _, _ in its], list(range(count)))
        for (_, n, _, ended), (_, m, began, _) in itertools.pairwise(its):
            expect_that(began >= ended, f"expected {command} {n} to end before {m} began, they overlapped")

    one_at_a_time("step", 20)
    one_at_a_time("declared", 5)

    async def lane_of(job: EnqueuedJob) -> str | None:
        return (await client.get(job)).summary.worker

    expect("the named worker of step", await lane_of(steps[-1]), lane)
    expect("the named worker of declared", {await lane_of(job) for job in others}, {declared})
    expect("the named worker of the last", await lane_of(free), None)


play(story)
