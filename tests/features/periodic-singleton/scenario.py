"""Of two processes that have the same singleton, one works, and the other takes over: see README.md."""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import timedelta

from stage import expect, expect_that, named, play, until

from haulier import Client, RunContext, Worker


async def story(client: Client, queue: str) -> None:
    runs: list[tuple[str, float, float]] = []

    def worker(who: str) -> Worker:
        made = Worker()

        @made.periodic(timedelta(milliseconds=100), name=named("beat"), run_at_start=True, singleton=True)
        async def beat(context: RunContext) -> None:
            began = time.monotonic()
            await asyncio.sleep(0.02)
            runs.append((who, began, time.monotonic()))

        return made

    workers = {who: worker(who) for who in "XY"}
    tasks = {who: asyncio.create_task(made.run(handle_signals=False)) for who, made in workers.items()}
    try:

        async def enough() -> bool:
            return len(runs) >= 10

        await until("there are 10 runs", enough)
        first = runs[-1][0]
        other = "Y" if first == "X" else "X"
        expect("who ran", {who for who, _, _ in runs}, {first})
        workers[first].drain()
        await asyncio.wait_for(tasks[first], 15)
        stopped = len(runs)

        async def taken_over() -> bool:
            return [who for who, _, _ in runs[stopped:]].count(other) >= 3

        await until("the other has run 3 times", taken_over)
        expect("who ran after the stop", {who for who, _, _ in runs[stopped:]}, {other})
        workers[other].drain()
        await asyncio.wait_for(tasks[other], 15)
        ended = len(runs)
        await asyncio.sleep(0.5)
        expect("the runs after both stopped", len(runs), ended)
        for (_, _, before), (_, after, _) in itertools.pairwise(runs):
            expect_that(after >= before, "expected no two runs to overlap, two did")
    finally:
        for who, made in workers.items():
            made.abort()
            await asyncio.wait((tasks[who],), timeout=15)


play(story)
