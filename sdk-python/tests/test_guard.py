"""A handler that blocks the event loop: what another thread does in its place, and how the loop takes over again."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from fake_server import FakeServer
from running import running

from haulier import Cancelled, Job, StopKind, Worker
from haulier._threads import LoopThread
from haulier.v1 import report_pb2


class Elsewhere:
    """A server in an event loop of its own, which no handler blocks."""

    def __init__(self) -> None:
        self.server = FakeServer()
        self._thread = LoopThread("fake server")
        self.do(self.server.start())

    def do(self, work: Any) -> Any:
        """Runs a coroutine there. Blocks."""
        return self._thread.submit(work).result(10)

    async def done(self, row: Any) -> None:
        """Waits until a job has an outcome."""
        await asyncio.wrap_future(self._thread.submit(asyncio.wait_for(row.done.wait(), 10)))

    def end(self) -> None:
        self.do(self.server.stop())
        self._thread.close()


class Sleeper:
    """A sync handler, `sleeps`, that sleeps until it is stopped, and what it saw."""

    def __init__(self, worker: Worker) -> None:
        self.began, self.stopped = threading.Event(), threading.Event()
        self.kinds: list[StopKind] = []

        @worker.command
        def sleeps(job: Job) -> None:
            self.began.set()
            try:
                job.sleep(10)
            except Cancelled:
                assert job.stop is not None
                self.kinds.append(job.stop.kind)
                self.stopped.set()
                raise


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    made = Elsewhere()
    made.server.lease_time, made.server.beat_interval = 1.5, 0.3
    yield made
    made.end()


def blocks_until(check: Callable[[], object], timeout: float = 10.0) -> None:
    """Blocks the event loop until something is so."""
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.01)


async def test_another_thread_beats_while_the_event_loop_is_blocked(
    elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    server = elsewhere.server
    worker = Worker(server.address)
    seen: list[report_pb2.Heartbeat] = []

    @worker.command
    async def block(job: Job) -> None:
        before = len(server.heartbeats)
        blocks_until(lambda: len(server.heartbeats) >= before + 8)  # longer than a lease
        seen.extend(server.heartbeats[before:])

    row = elsewhere.do(server.add("block"))
    with caplog.at_level(logging.WARNING, "haulier"):
        async with running(worker):
            await elsewhere.done(row)
            back = len(server.heartbeats)
            await asyncio.sleep(1.2)
            streams = len(server.streams)
    assert not any(beat.loops or beat.leases for beat in seen[1:]), "these only renew"
    assert [beat.beat for beat in seen] == list(range(seen[0].beat, seen[0].beat + len(seen)))
    assert all(beat.loops for beat in server.heartbeats[back + 1 :]), "the event loop beats again"
    assert len(server.heartbeats) >= back + 3
    assert streams == 1, "the other stream has ended"
    assert row.kind == "complete"
    assert (row.attempt, row.given_back) == (1, 0)
    assert len(server.sessions) == 1
    assert caplog.text.count("event loop is blocked") == 1


async def test_the_other_thread_goes_on_when_its_stream_breaks(elsewhere: Elsewhere) -> None:
    server = elsewhere.server
    server.cuts |= {("report.open", 2), ("report.open", 4)}
    worker = Worker(server.address)
    opened: list[int] = []

    @worker.command
    async def block(job: Job) -> None:
        blocks_until(lambda: server.points["report.open"] == 3)
        server.cuts.add(("report.up.before", server.points["report.up.before"] + 1))
        before = len(server.heartbeats)
        blocks_until(lambda: server.points["report.open"] >= 5 and len(server.heartbeats) >= before + 3)
        opened.append(server.points["report.open"])

    row = elsewhere.do(server.add("block"))
    async with running(worker):
        await elsewhere.done(row)
    assert opened == [5]
    assert (row.kind, row.attempt, len(server.sessions)) == ("complete", 1, 1)


async def test_a_loop_that_lives_is_never_stood_in_for(elsewhere: Elsewhere) -> None:
    server = elsewhere.server
    worker = Worker(server.address)

    @worker.command
    async def wait(job: Job) -> None:
        await asyncio.sleep(2)

    row = elsewhere.do(server.add("wait"))
    async with running(worker):
        await elsewhere.done(row)
    assert all(beat.loops for beat in server.heartbeats[1:])
    assert server.points["report.open"] == 1


async def test_a_sync_handler_is_cancelled_while_another_blocks_the_event_loop(elsewhere: Elsewhere) -> None:
    server = elsewhere.server
    worker = Worker(server.address)
    sleeper = Sleeper(worker)

    @worker.command
    async def block(job: Job) -> None:
        assert sleeper.began.wait(5)
        blocks_until(lambda: len(server.streams) == 2)
        lease = next(row.lease for row in server.rows.values() if row.command == "sleeps")
        for _ in range(3):  # the server says it again and again
            directive = report_pb2.Directive(cancel=report_pb2.CancelDirective(lease=lease, reason="enough"))
            elsewhere.do(server.direct(directive))
        blocks_until(sleeper.stopped.is_set, 2)

    rows = [elsewhere.do(server.add(command)) for command in ("sleeps", "block")]
    async with running(worker):
        for row in rows:
            await elsewhere.done(row)
    assert sleeper.kinds == [StopKind.CANCEL]
    assert [row.kind for row in rows] == ["cancelled", "complete"]


async def test_a_sync_handler_that_ignores_what_it_heard_meanwhile_is_left_alone_in_the_end(elsewhere: Elsewhere) -> None:
    server = elsewhere.server
    worker = Worker(server.address, slots=2)
    began, told, release = threading.Event(), threading.Event(), threading.Event()

    @worker.command
    def deaf(job: Job) -> None:
        began.set()
        blocks_until(lambda: job.stopped)
        told.set()
        release.wait(10)

    @worker.command
    async def block(job: Job) -> None:
        assert began.wait(5)
        blocks_until(lambda: len(server.streams) == 2)
        directive = report_pb2.Directive()
        directive.cancel.lease = next(row.lease for row in server.rows.values() if row.command == "deaf")
        directive.cancel.kind = report_pb2.CANCEL_KIND_TIMEOUT
        directive.cancel.grace.FromTimedelta(timedelta(seconds=0.2))
        elsewhere.do(server.direct(directive))
        assert told.wait(2)

    rows = [elsewhere.do(server.add(command)) for command in ("deaf", "block")]
    async with running(worker):
        for row in rows:
            await elsewhere.done(row)
        release.set()
    assert [row.kind for row in rows] == ["fail", "complete"]
    assert rows[0].outcomes[0].fail.code == "TIMEOUT"


async def test_strict_jobs_in_threads_stop_themselves_also_while_the_event_loop_is_blocked(elsewhere: Elsewhere) -> None:
    server = elsewhere.server
    worker = Worker(server.address)
    sleeper = Sleeper(worker)
    took: list[float] = []

    @worker.command
    async def block(job: Job) -> None:
        assert sleeper.began.wait(5)
        server.answer_beats = False
        since = time.monotonic()
        blocks_until(sleeper.stopped.is_set, 5)
        took.append(time.monotonic() - since)
        server.answer_beats = True

    strict, plain = elsewhere.do(server.add("sleeps", strict=True)), elsewhere.do(server.add("block"))
    async with running(worker):
        await elsewhere.done(strict)
        await elsewhere.done(plain)
    assert sleeper.kinds[0] is StopKind.IN_DOUBT
    assert took[0] < 1.5, "before the lease is over"
    assert (strict.outcomes[0].WhichOneof("outcome"), plain.kind) == ("release", "complete")


async def test_async_handlers_see_their_stop_signals_in_the_loop_they_block_and_are_cancelled_when_it_goes_on(
    elsewhere: Elsewhere,
) -> None:
    server = elsewhere.server
    worker = Worker(server.address)
    cancelled: list[str] = []

    @worker.command
    async def waits(job: Job) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append("waits")
            raise

    @worker.command
    async def block(job: Job) -> None:
        await asyncio.sleep(0.1)
        blocks_until(lambda: len(server.streams) == 2)
        for row in list(server.rows.values()):
            elsewhere.do(server.direct(report_pb2.Directive(cancel=report_pb2.CancelDirective(lease=row.lease))))
        blocks_until(lambda: job.stopped, 2)
        assert not cancelled
        job.raise_if_stopped()

    rows = [elsewhere.do(server.add(command)) for command in ("waits", "block")]
    async with running(worker):
        for row in rows:
            await elsewhere.done(row)
    assert [row.kind for row in rows] == ["cancelled", "cancelled"]
    assert cancelled == ["waits"]


async def test_a_session_that_is_lost_while_the_event_loop_is_blocked_is_registered_anew(elsewhere: Elsewhere) -> None:
    server = elsewhere.server
    worker = Worker(server.address)
    times = 0

    @worker.command
    async def block(job: Job) -> None:
        nonlocal times
        times += 1
        if times == 1:
            blocks_until(lambda: len(server.streams) == 2)
            elsewhere.do(server.lose_sessions())
            time.sleep(1)

    row = elsewhere.do(server.add("block"))
    async with running(worker):
        await elsewhere.done(row)
    assert (times, row.kind, row.attempt) == (2, "complete", 2)
    assert len(server.sessions) == 2


async def test_waiting_for_the_event_loop_that_one_blocks_is_refused(elsewhere: Elsewhere) -> None:
    server = elsewhere.server
    worker = Worker(server.address)

    @worker.command
    async def wrong(job: Job) -> None:
        job.save_checkpoint({"n": 1}).wait()

    @worker.command
    async def right(job: Job) -> None:
        await asyncio.to_thread(lambda: job.save_checkpoint({"n": 2}).wait(5))

    rows = [elsewhere.do(server.add(command)) for command in ("wrong", "right")]
    async with running(worker):
        for row in rows:
            await elsewhere.done(row)
    assert [row.kind for row in rows] == ["fail", "complete"]
    assert "await it instead" in rows[0].outcomes[0].fail.message
    assert rows[1].checkpoint == '{"n":2}'
