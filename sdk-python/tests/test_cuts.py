"""Client and worker behind a proxy that cuts at every call and message in turn, against the real server."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from datetime import timedelta

import pytest
from proxy import Cut, Proxy, cut_everywhere
from running import running
from server import RealServer

from haulier import Client, Job, JobFilter, JobOptions, JobState, Worker, _limits

WITHIN = 5.0
"""Seconds after a cut in which the next job must have started."""


@pytest.mark.timeout(180)
async def test_a_worker_cut_at_every_message_starts_the_next_job_within_5_s(real: RealServer) -> None:
    async with Client(real.address, timeout=timedelta(seconds=20)) as client:

        async def run(cut: Cut | None) -> dict[str, int]:
            queue = f"cut-{uuid.uuid4()}"
            starts: Counter[int] = Counter()
            async with Proxy(real.address, cut) as proxy:
                worker = Worker(proxy.address, queues=[queue], slots=2)

                @worker.command
                async def talk(job: Job, lines: int) -> int:
                    starts[job.id] += 1
                    for number in range(lines):
                        await job.log(f"line {number}")
                    await job.progress(0.5, "half way")
                    await job.save_checkpoint(lines)
                    return lines

                options = JobOptions(queue=queue)
                async with running(worker, wait=False):
                    first = await client.enqueue(talk, {"lines": 3}, options)
                    assert await client.wait(first, timeout=timedelta(seconds=10)) == 3
                    frames = dict(proxy.frames)
                    if cut is not None:
                        # The last frames may be those of a message that only the next job brings.
                        with contextlib.suppress(asyncio.TimeoutError):
                            await asyncio.wait_for(proxy.has_cut.wait(), 0.5)
                    began = time.monotonic()
                    second = await client.enqueue(talk, {"lines": 1}, options)
                    while not starts[second.id]:
                        assert time.monotonic() - began < WITHIN, "the next job did not start in time"
                        await asyncio.sleep(0.01)
                    assert await client.wait(second, timeout=timedelta(seconds=10)) == 1
            for job, lines in ((first, 3), (second, 1)):
                attempts = [attempt async for attempt in client.list_attempts(job.id)]
                assert attempts[-1].outcome == "completed"
                assert starts[job.id] <= len(attempts), "a handler started twice in one attempt"
                kept = [line.message async for line in client.list_logs(job.id, epoch=attempts[-1].epoch)]
                assert kept == [f"line {number}" for number in range(lines)]
            return frames

        frames = await run(None)
        assert frames["up"] >= 6
        assert frames["down"] >= 4
        assert await cut_everywhere(run, frames) == []


@pytest.mark.timeout(120)
async def test_a_client_cut_at_every_message_enqueues_once_and_gets_its_result(real: RealServer) -> None:
    queue = f"cut-{uuid.uuid4()}"
    worker = Worker(real.address, queues=[queue], slots=20)

    @worker.command
    async def talk(job: Job) -> str:
        for number in range(3):
            await job.log(f"line {number}")
            await asyncio.sleep(0.02)
        return "said"

    async with Client(real.address) as direct, running(worker):

        async def run(cut: Cut | None) -> dict[str, int]:
            tag = str(uuid.uuid4())
            async with Proxy(real.address, cut) as proxy, Client(proxy.address, timeout=timedelta(seconds=10)) as client:
                job = await client.enqueue(talk, options=JobOptions(queue=queue, tag=tag))
                events = [event async for event in client.watch(job)]
                assert (await client.get(job)).result == "said"
                frames = dict(proxy.frames)
            lines = [line.message for event in events if event.kind == "logs" for line in event.lines]
            assert lines == ["line 0", "line 1", "line 2"]
            last = events[-1]
            assert last.kind == "snapshot"
            assert last.job.state is JobState.COMPLETED
            stored = [found.id async for found in direct.list_jobs(JobFilter(tag=tag))]
            assert stored == [job.id], "one intent, one job"
            return frames

        assert await cut_everywhere(run, await run(None)) == []


async def test_a_worker_whose_connection_is_dead_but_open_opens_another(
    real: RealServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_limits, "KEEPALIVE_TIME_MS", 1_000)
    monkeypatch.setattr(_limits, "KEEPALIVE_TIMEOUT_MS", 1_000)
    queue = f"cut-{uuid.uuid4()}"
    async with Client(real.address) as client, Proxy(real.address) as proxy:
        worker = Worker(proxy.address, queues=[queue])

        @worker.command
        async def hello() -> str:
            return "hello"

        async with running(worker):
            options = JobOptions(queue=queue)
            assert await client.wait(await client.enqueue(hello, options=options)) == "hello"
            proxy.freeze()
            job = await client.enqueue(hello, options=options)
            assert await client.wait(job, timeout=timedelta(seconds=15)) == "hello"
        assert proxy.connections >= 2


async def test_a_watch_whose_connection_is_dead_but_open_goes_on_over_another(
    real: RealServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_limits, "KEEPALIVE_TIME_MS", 1_000)
    monkeypatch.setattr(_limits, "KEEPALIVE_TIMEOUT_MS", 1_000)
    queue = f"cut-{uuid.uuid4()}"
    worker = Worker(real.address, queues=[queue])
    go_on = asyncio.Event()

    @worker.command
    async def talk(job: Job) -> str:
        await job.log("before")
        await go_on.wait()
        await job.log("after")
        return "said"

    async with running(worker), Client(real.address) as direct, Proxy(real.address) as proxy, Client(proxy.address) as client:
        job = await direct.enqueue(talk, options=JobOptions(queue=queue))
        lines: list[str] = []
        last = None
        async for last in client.watch(job):
            if last.kind == "logs":
                lines += [line.message for line in last.lines]
                if not go_on.is_set():
                    proxy.freeze()
                    go_on.set()
        assert lines == ["before", "after"]
        assert last is not None
        assert last.kind == "snapshot"
        assert last.job.result == "said"
        assert proxy.connections >= 2


async def test_a_strict_job_stops_itself_before_another_worker_process_starts_it(real: RealServer) -> None:
    queue = f"cut-{uuid.uuid4()}"
    spans: list[tuple[str, float]] = []

    def worker(address: str, name: str) -> Worker:
        made = Worker(address, name=name, queues=[queue], lease_time=timedelta(seconds=5))

        @made.command
        async def hold(job: Job) -> str:
            spans.append((f"{name} begins", time.monotonic()))
            if name == "second":
                return name
            try:
                await asyncio.sleep(60)
            finally:
                spans.append((f"{name} ends by {job.stop.kind if job.stop else None}", time.monotonic()))
            return name

        return made

    async with Client(real.address) as client, Proxy(real.address) as proxy:
        first = worker(proxy.address, "first")
        async with running(first):
            job = await client.enqueue("hold", options=JobOptions(queue=queue, strict=True))
            while not spans:
                await asyncio.sleep(0.02)
            proxy.freeze(door=True)
            async with running(worker(real.address, "second")):
                assert await client.wait(job, timeout=timedelta(seconds=25)) == "second"
            proxy.thaw()
            # The first comes back by itself, and is of use again.
            again = await client.enqueue("hold", options=JobOptions(queue=queue))
            while len(spans) < 4:
                await asyncio.sleep(0.02)
            await client.cancel(again)
    assert [what for what, _ in spans[:4]] == ["first begins", "first ends by in_doubt", "second begins", "first begins"]
