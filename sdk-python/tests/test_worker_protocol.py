"""The worker against a server in this process: the lease protocol, cut at every point."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from datetime import timedelta
from typing import Any

import grpc
import pytest
from fake_server import FakeServer
from running import running

from haulier import Cancelled, Job, NonRetryable, RetryAfter, StopKind, Worker, current_job
from haulier._session import ClaimLoop
from haulier.v1 import report_pb2


async def until(check: Any, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.01)


def make_worker(server: FakeServer, **more: Any) -> tuple[Worker, list[int]]:
    worker = Worker(server.address, name="test", slots=more.pop("slots", 4), **more)
    started: list[int] = []

    @worker.command
    async def talk(job: Job, lines: int) -> int:
        started.append(job.id)
        for number in range(lines):
            await job.log(f"line {number}")
        await job.progress(1.0, "done")
        return lines

    return worker, started


POINTS = [
    *((f"{call}.{side}", n) for call in ("RegisterWorker",) for side in ("before", "after") for n in (1,)),
    *((f"ClaimJob.{side}", n) for side in ("before", "after") for n in (1, 2, 3)),
    *(("report.open", n) for n in (1, 2)),
    *((f"report.up.{side}", n) for side in ("before", "after") for n in (1, 2, 3, 4, 5)),
    *(("report.down", n) for n in (1, 2, 3, 4)),
]


@pytest.mark.parametrize(("point", "number"), POINTS)
async def test_a_cut_anywhere_loses_nothing_and_the_next_job_runs_within_5_s(fake: FakeServer, point: str, number: int) -> None:
    fake.cuts.add((point, number))
    worker, started = make_worker(fake, slots=2)
    rows = [await fake.add("talk", '{"lines":20}') for _ in range(3)]
    async with running(worker, wait=False):
        await asyncio.wait_for(asyncio.gather(*(row.done.wait() for row in rows)), 5)
        late = [await fake.add("talk", '{"lines":20}') for _ in range(2)]
        await asyncio.wait_for(asyncio.gather(*(row.done.wait() for row in late)), 5)
    for row in [*rows, *late]:
        assert [outcome.WhichOneof("outcome") for outcome in row.outcomes] == ["complete"]
        assert row.lines == [f"line {n}" for n in range(20)]
        assert started.count(row.id) == row.epoch - row.given_back or row.given_back == 0
        assert started.count(row.id) == 1 or row.given_back > 0


async def test_every_stream_message_cut_in_turn_loses_nothing(fake: FakeServer) -> None:
    fake.cuts.update(("report.up.after", n) for n in range(2, 12, 2))
    fake.cuts.update(("report.down", n) for n in range(3, 12, 3))
    worker, _ = make_worker(fake, slots=3)
    rows = [await fake.add("talk", '{"lines":5}') for _ in range(12)]
    async with running(worker, wait=False):
        await asyncio.wait_for(asyncio.gather(*(row.done.wait() for row in rows)), 20)
    assert all(row.kind == "complete" and len(row.outcomes) == 1 and row.log_sequence == 5 for row in rows)


async def test_received_is_said_before_the_first_handler_starts(fake: FakeServer) -> None:
    worker = Worker(fake.address, slots=1)
    seen: list[list[int]] = []

    @worker.command
    async def look(job: Job) -> None:
        seen.append(list(fake.received))

    await fake.add("look")
    async with running(worker):
        await until(lambda: seen)
        await until(lambda: fake.received)
    # The answer's sequence was on the stream when the handler began; the server may take it a moment later.
    assert fake.received[0] == 1


def test_a_claim_is_repeated_until_a_heartbeat_told_it_to_be_closed() -> None:
    loop = ClaimLoop()
    assert loop.begin() == (1, 0)
    loop.unanswered()
    assert loop.begin() == (1, 0)  # no answer came: the same again
    loop.answered(1, True)
    assert loop.begin() == (2, 1)
    state = report_pb2.LoopState()
    loop.tell(state)
    assert (state.received, state.sent, state.sent_open) == (1, 2, True)
    loop.unanswered()
    assert loop.begin() == (2, 1)  # it was open when it was told: a repeat is safe
    loop.unanswered()
    loop.tell(state)
    assert not state.sent_open
    assert loop.begin() == (3, 1)  # its jobs may have gone back: go on
    loop.answered(3, False)
    assert loop.begin() == (4, 1)


async def test_jobs_of_a_lost_answer_go_back_and_run_later(fake: FakeServer) -> None:
    fake.cuts.add(("ClaimJob.after", 1))
    worker, started = make_worker(fake)
    row = await fake.add("talk", '{"lines":1}')
    async with running(worker):
        await asyncio.wait_for(row.done.wait(), 10)
    assert row.kind == "complete"
    assert started == [row.id]


async def test_handlers_of_all_kinds_end_as_they_say(fake: FakeServer) -> None:
    worker = Worker(fake.address, slots=20)

    @worker.command
    def sync(job: Job, text: str) -> str:
        return text.upper()

    @worker.command
    async def fails() -> None:
        raise ValueError("broken")

    @worker.command
    async def never() -> None:
        raise NonRetryable("no such thing", code="GONE")

    @worker.command
    async def later() -> None:
        raise RetryAfter(timedelta(seconds=7), "busy")

    @worker.command
    async def odd() -> None:
        raise SystemExit(3)

    @worker.command
    async def ends() -> None:
        raise Cancelled("not needed")

    @worker.command
    async def unstorable() -> object:
        return object()

    @worker.command
    async def huge() -> str:
        return "x" * (4 << 20)

    rows = {
        name: await fake.add(name, request)
        for name, request in {
            "sync": '{"text":"a"}',
            "fails": "null",
            "never": "null",
            "later": "null",
            "odd": "null",
            "ends": "null",
            "unstorable": "null",
            "huge": "null",
        }.items()
    }
    wrong = await fake.add("sync", '{"text":5}')
    async with running(worker):
        await asyncio.wait_for(asyncio.gather(*(row.done.wait() for row in [*rows.values(), wrong])), 5)
    outcome = {name: row.outcomes[0] for name, row in rows.items()}
    assert outcome["sync"].complete.result.json == '"A"'
    assert (outcome["fails"].fail.code, outcome["fails"].fail.message) == ("ValueError", "broken")
    assert "raise ValueError" in outcome["fails"].fail.stack
    assert "haulier/_worker" not in outcome["fails"].fail.stack
    assert outcome["never"].fail.code == "GONE"
    assert not outcome["never"].fail.retryable
    assert outcome["later"].fail.retry_delay.seconds == 7
    assert outcome["odd"].fail.code == "SystemExit"
    assert outcome["ends"].cancelled.reason == "not needed"
    assert outcome["unstorable"].fail.code == outcome["huge"].fail.code == "UNSTORABLE_RESULT"
    assert not wrong.outcomes[0].fail.retryable
    assert "request.text: needs text, got int" in wrong.outcomes[0].fail.message


async def stop_and_get(fake: FakeServer, kind: str, *, sync: bool = False) -> tuple[Any, StopKind | None]:
    worker = Worker(fake.address, drain_timeout=timedelta(seconds=0.1))
    began = threading.Event()
    seen: list[StopKind | None] = []

    def note(job: Job) -> None:
        seen.append(job.stop.kind if job.stop else None)

    if sync:

        @worker.command
        def wait(job: Job) -> None:
            began.set()
            try:
                job.sleep(20)
            finally:
                note(job)
    else:

        @worker.command("wait")
        async def wait_async(job: Job) -> None:
            began.set()
            try:
                await asyncio.sleep(20)
            finally:
                note(job)

    row = await fake.add("wait", timeout=0.2 if kind == "timeout" else None)
    async with running(worker):
        await until(began.is_set)
        directive = report_pb2.Directive()
        if kind == "cancel":
            directive.cancel.lease = row.lease
            directive.cancel.kind = report_pb2.CANCEL_KIND_CLIENT
            await fake.direct(directive)
            await fake.direct(directive)
        elif kind == "lost":
            directive.lease_lost.lease = row.lease
            await fake.direct(directive)
        elif kind == "drain":
            directive.drain.grace.FromMilliseconds(50)
            await fake.direct(directive)
        await until(lambda: seen)
        if kind != "lost":
            await asyncio.wait_for(row.done.wait(), 10)
        else:
            await asyncio.sleep(0.2)
    return (row.outcomes[0] if row.outcomes else None), seen[0]


@pytest.mark.parametrize("sync", [False, True])
async def test_a_stop_signal_decides_what_obeying_comes_to(fake: FakeServer, sync: bool) -> None:
    outcome, kind = await stop_and_get(fake, "cancel", sync=sync)
    assert (outcome.WhichOneof("outcome"), kind) == ("cancelled", StopKind.CANCEL)
    outcome, kind = await stop_and_get(fake, "timeout", sync=sync)
    assert (outcome.fail.code, kind) == ("TIMEOUT", StopKind.TIMEOUT)
    outcome, kind = await stop_and_get(fake, "drain", sync=sync)
    assert (outcome.WhichOneof("outcome"), kind) == ("release", StopKind.DRAIN)


async def test_a_lost_lease_stops_the_handler_and_reports_nothing(fake: FakeServer) -> None:
    outcome, kind = await stop_and_get(fake, "lost")
    assert outcome is None or outcome.WhichOneof("outcome") == "release"  # given back again when the test ended
    assert kind is StopKind.LEASE_LOST


async def test_a_value_after_a_stop_signal_completes_the_job(fake: FakeServer) -> None:
    worker = Worker(fake.address)
    began = threading.Event()

    @worker.command
    async def stubborn(job: Job) -> str:
        began.set()
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            return "finished all the same"
        return "?"

    row = await fake.add("stubborn")
    async with running(worker):
        await until(began.is_set)
        await fake.direct(
            report_pb2.Directive(cancel=report_pb2.CancelDirective(lease=row.lease, kind=report_pb2.CANCEL_KIND_CLIENT))
        )
        await asyncio.wait_for(row.done.wait(), 10)
    assert row.outcomes[0].complete.result.json == '"finished all the same"'


async def test_a_strict_job_stops_itself_when_no_heartbeat_is_acknowledged(fake: FakeServer) -> None:
    fake.answer_beats = False
    fake.lease_time, fake.beat_interval = 1.0, 10.0
    worker = Worker(fake.address)
    doubt: list[bool] = []
    began: list[int] = []

    @worker.command
    async def hold(job: Job) -> None:
        began.append(job.id)
        try:
            await asyncio.sleep(1.2)
            doubt.append(job.in_doubt)
        except asyncio.CancelledError:
            assert job.stop
            assert job.stop.kind is StopKind.IN_DOUBT
            raise

    strict = await fake.add("hold", strict=True)
    plain = await fake.add("hold")
    async with running(worker):
        await asyncio.wait_for(strict.done.wait(), 10)
        await asyncio.wait_for(plain.done.wait(), 10)
    assert strict.kind == "release"
    assert plain.kind == "complete"
    assert doubt == [True]


async def test_a_lost_session_is_followed_by_another(fake: FakeServer) -> None:
    worker = Worker(fake.address)
    began = threading.Event()
    stops: list[StopKind] = []

    @worker.command
    async def hold(job: Job) -> int:
        if job.attempt > 1:
            return job.attempt
        began.set()
        try:
            await asyncio.sleep(20)
        finally:
            assert job.stop
            stops.append(job.stop.kind)
        return 0

    row = await fake.add("hold")
    async with running(worker):
        await until(began.is_set)
        await fake.lose_sessions()
        await asyncio.wait_for(row.done.wait(), 10)
    assert stops == [StopKind.LEASE_LOST]
    assert [outcome.complete.result.json for outcome in row.outcomes] == ["2"]
    assert len(fake.sessions) == 2


async def test_outcomes_that_are_ready_survive_the_loss_of_the_session(fake: FakeServer) -> None:
    fake.store_outcomes = False
    worker, _ = make_worker(fake)
    row = await fake.add("talk", '{"lines":0}')
    async with running(worker):
        await until(lambda: worker._running._session.reports.outcome_count == 1)  # type: ignore[union-attr]
        for session in fake.sessions.values():
            session["lost"] = True
        fake.store_outcomes = True
        error = report_pb2.ReportError(code=report_pb2.REPORT_ERROR_CODE_SESSION_LOST)
        from haulier.v1 import worker_service_pb2 as pb

        for stream in fake.streams:
            stream.put_nowait(pb.ReportJobsResponse(errors=[error]))
        row.session = next(iter(fake.sessions))
        await asyncio.wait_for(row.done.wait(), 10)
    assert row.kind == "complete"
    assert row.given_back <= 1


async def test_a_server_that_goes_and_comes_back_gets_its_worker_back(fake: FakeServer) -> None:
    worker, _ = make_worker(fake)
    port = int(fake.address.rpartition(":")[2])
    async with running(worker):
        first = await fake.add("talk", '{"lines":1}')
        await asyncio.wait_for(first.done.wait(), 10)
        await fake.stop()
        await asyncio.sleep(0.3)
        other = FakeServer()
        await other.start(port)
        second = await other.add("talk", '{"lines":2}')
        try:
            # The other server does not know the session.
            await asyncio.wait_for(second.done.wait(), 15)
        finally:
            worker.abort()
            await other.stop()
    assert second.kind == "complete"


async def test_logs_wait_for_credit_and_an_outcome_waits_for_its_lines(fake: FakeServer) -> None:
    fake.credit = 2_000
    worker, _ = make_worker(fake)
    row = await fake.add("talk", '{"lines":500}')
    async with running(worker):
        await asyncio.wait_for(row.done.wait(), 10)
    assert row.lines == [f"line {n}" for n in range(500)]
    assert row.outcomes[0].log_sequence == 500


async def test_a_log_gap_is_mended(fake: FakeServer) -> None:
    fake.log_gap_once = True
    worker, _ = make_worker(fake)
    row = await fake.add("talk", '{"lines":30}')
    async with running(worker):
        await asyncio.wait_for(row.done.wait(), 10)
    assert row.lines == [f"line {n}" for n in range(30)]


async def test_more_lines_than_the_buffer_holds_are_told_not_hidden(fake: FakeServer) -> None:
    fake.credit = 40_000
    worker = Worker(fake.address)

    @worker.command
    def flood(job: Job) -> None:
        for _ in range(600):
            job.log("x" * 16_000)

    row = await fake.add("flood")
    async with running(worker):
        await asyncio.wait_for(row.done.wait(), 20)
    assert any("log lines were left out" in line for line in row.lines)
    assert row.log_sequence == len(row.lines) == row.outcomes[0].log_sequence


async def test_a_checkpoint_is_stored_and_reaches_the_next_attempt(fake: FakeServer) -> None:
    worker = Worker(fake.address)
    seen: list[Any] = []

    @worker.command
    async def steps(job: Job) -> None:
        seen.append(job.checkpoint)
        if job.attempt == 1:
            await job.save_checkpoint({"done": 3})
            await fake.lose_sessions()
            await asyncio.sleep(20)

    row = await fake.add("steps")
    async with running(worker):
        await asyncio.wait_for(row.done.wait(), 10)
    assert seen == [None, {"done": 3}]


async def test_a_refused_outcome_becomes_a_failure_not_a_circle(fake: FakeServer) -> None:
    fake.refuse_next_outcome = report_pb2.ReportError(
        code=report_pb2.REPORT_ERROR_CODE_INVALID, field="outcomes[0].complete.result", message="is not JSON"
    )
    worker, _ = make_worker(fake)
    row = await fake.add("talk", '{"lines":0}')
    async with running(worker):
        await asyncio.wait_for(row.done.wait(), 10)
    assert row.outcomes[0].fail.code == "UNSTORABLE_RESULT"


async def test_an_outcome_that_cannot_be_stored_now_is_sent_again(fake: FakeServer) -> None:
    fake.refuse_next_outcome = report_pb2.ReportError(code=report_pb2.REPORT_ERROR_CODE_UNAVAILABLE)
    worker, _ = make_worker(fake)
    row = await fake.add("talk", '{"lines":3}')
    async with running(worker):
        await asyncio.wait_for(row.done.wait(), 10)
    assert row.kind == "complete"


async def test_draining_lets_handlers_end_then_unregisters(fake: FakeServer) -> None:
    worker = Worker(fake.address)
    began, draining = threading.Event(), []

    @worker.command
    async def short(job: Job) -> str:
        began.set()
        while not job.draining:
            await asyncio.sleep(0.01)
        draining.append(True)
        return "ended well"

    row = await fake.add("short")
    async with running(worker) as task:
        await until(began.is_set)
        worker.drain()
        await asyncio.wait_for(task, 10)
    assert row.kind == "complete"
    assert draining == [True]
    assert fake.unregistered == ["session-1"]
    assert not fake.ready


async def test_a_handler_that_never_stops_is_left_alone_and_its_job_goes_back(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from haulier import _limits

    monkeypatch.setattr(_limits, "DRAIN_STOP_GRACE", 0.1)
    worker = Worker(fake.address, drain_timeout=timedelta(seconds=0.1))
    began, release = threading.Event(), threading.Event()

    @worker.command
    def deaf(job: Job) -> None:
        began.set()
        release.wait(10)

    row = await fake.add("deaf")
    async with running(worker) as task:
        await until(began.is_set)
        worker.drain()
        await asyncio.wait_for(task, 10)
    release.set()
    assert row.kind == "release"


async def test_a_timeout_frees_the_slot_of_a_handler_that_does_not_stop(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from haulier import _limits

    monkeypatch.setattr(_limits, "TIMEOUT_GRACE", timedelta(seconds=0.1))
    worker = Worker(fake.address, slots=1)
    release = threading.Event()

    @worker.command
    def deaf(job: Job, wait: bool) -> None:
        if wait:
            release.wait(10)

    stuck = await fake.add("deaf", '{"wait":true}', timeout=0.1)
    async with running(worker):
        await asyncio.wait_for(stuck.done.wait(), 10)
        assert stuck.outcomes[0].fail.code == "TIMEOUT"
        after = await fake.add("deaf", '{"wait":false}')
        await asyncio.wait_for(after.done.wait(), 10)
        release.set()


async def test_jobs_come_and_outcomes_go_in_batches(fake: FakeServer) -> None:
    worker = Worker(fake.address, slots=100)

    @worker.command
    async def nothing() -> None:
        pass

    rows = [await fake.add("nothing") for _ in range(300)]
    async with running(worker):
        await asyncio.wait_for(asyncio.gather(*(row.done.wait() for row in rows)), 10)
    assert len(fake.claims) < 60
    assert fake.points["report.up.before"] < 100


async def test_each_handler_has_a_task_and_a_context_of_its_own(fake: FakeServer) -> None:
    worker = Worker(fake.address, slots=10)
    seen = contextvars.ContextVar[int]("seen")
    tasks: set[Any] = set()

    @worker.command
    async def look(n: int, waits: bool) -> list[int]:
        tasks.add(asyncio.current_task())
        found = seen.get(0)
        seen.set(n)
        if waits:
            await asyncio.sleep(0)
        job = current_job()
        assert job is not None
        return [found, seen.get(), job.request["n"]]

    rows = [await fake.add("look", f'{{"n":{n},"waits":{"true" if n % 3 == 0 else "false"}}}') for n in range(1, 31)]
    async with running(worker):
        await asyncio.wait_for(asyncio.gather(*(row.done.wait() for row in rows)), 10)
    assert [row.outcomes[0].complete.result.json for row in rows] == [f"[0,{n},{n}]" for n in range(1, 31)]
    assert len(tasks) == 30


async def test_a_handler_that_cancels_its_own_task_harms_no_other(fake: FakeServer) -> None:
    worker = Worker(fake.address, slots=10)

    @worker.command
    async def rash(cancels: bool) -> str:
        if cancels:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return "cancelled itself, and never waited"
        await asyncio.sleep(0.01)
        return "undisturbed"

    rows = [await fake.add("rash", f'{{"cancels":{"true" if n % 2 else "false"}}}') for n in range(20)]
    async with running(worker):
        await asyncio.wait_for(asyncio.gather(*(row.done.wait() for row in rows)), 10)
    expected = ['"undisturbed"', '"cancelled itself, and never waited"'] * 10
    assert [row.outcomes[0].complete.result.json for row in rows] == expected


async def test_a_job_that_a_handler_asks_for_after_its_stop_signal_knows_of_it(fake: FakeServer) -> None:
    worker = Worker(fake.address)
    began = asyncio.Event()
    found: list[Any] = []

    @worker.command
    async def late() -> None:
        began.set()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            job = current_job()
            assert job is not None
            found.extend((job.stopped, job.stop and job.stop.kind, current_job() is job))
            raise

    row = await fake.add("late")
    async with running(worker):
        await asyncio.wait_for(began.wait(), 10)
        directive = report_pb2.CancelDirective(lease=row.lease, kind=report_pb2.CANCEL_KIND_CLIENT)
        await fake.direct(report_pb2.Directive(cancel=directive))
        await asyncio.wait_for(row.done.wait(), 10)
    assert found == [True, StopKind.CANCEL, True]
    assert row.kind == "cancelled"


async def test_outcomes_that_are_alike_are_told_for_each_lease_with_its_own_lines(fake: FakeServer) -> None:
    worker = Worker(fake.address, slots=4)

    @worker.command
    async def quiet(job: Job, lines: int) -> None:
        for number in range(lines):
            job.log(f"line {number}")

    rows = [await fake.add("quiet", f'{{"lines":{lines}}}') for lines in (0, 2, 0, 5)]
    async with running(worker):
        await asyncio.wait_for(asyncio.gather(*(row.done.wait() for row in rows)), 10)
    assert [len(row.outcomes) for row in rows] == [1, 1, 1, 1]
    assert [row.outcomes[0].log_sequence for row in rows] == [0, 2, 0, 5]
    assert [row.outcomes[0].lease for row in rows] == [row.outcome_lease for row in rows]
    assert [row.outcomes[0].complete.result.WhichOneof("kind") for row in rows] == [None] * 4


@pytest.mark.parametrize("timeout", [0.01, 0.2])
async def test_a_timeout_is_kept_however_short(fake: FakeServer, timeout: float) -> None:
    worker = Worker(fake.address, slots=2)

    @worker.command
    async def slow() -> None:
        await asyncio.sleep(10)

    # The longer timeout of the other must not hide it.
    other = await fake.add("slow", timeout=30)
    began = time.monotonic()
    row = await fake.add("slow", timeout=timeout)
    async with running(worker):
        await asyncio.wait_for(row.done.wait(), 5)
        assert row.outcomes[0].fail.code == "TIMEOUT"
        assert time.monotonic() - began >= timeout
        assert not other.outcomes
        worker.abort()


async def test_a_job_made_by_a_handler_descends_from_it(fake: FakeServer) -> None:
    worker = Worker(fake.address)

    @worker.command
    async def parent(job: Job) -> None:
        child = await job.enqueue("child", {"a": 1})
        assert child.id
        job.enqueue_with_outcome("after", 5)

    @worker.command
    def child(job: Job, a: int) -> int:
        job.enqueue("grandchild").wait(5)
        return a

    @worker.command
    def grandchild() -> None:
        pass

    row = await fake.add("parent")
    async with running(worker):
        await asyncio.wait_for(row.done.wait(), 10)
        await until(lambda: len(fake.rows) == 3)
        await asyncio.wait_for(asyncio.gather(*(row.done.wait() for row in fake.rows.values())), 5)
    assert fake.rows[2].options.parent_id == row.id
    assert fake.rows[3].options.parent_id == 2
    assert [item.command.command for item in row.outcomes[0].complete.enqueue] == ["after"]
    assert row.outcomes[0].complete.enqueue[0].command.options.parent_id == row.id


async def test_a_worker_that_is_refused_at_first_says_so(fake: FakeServer) -> None:
    from haulier import UnauthenticatedError

    fake.errors["RegisterWorker"].append((grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", 0))
    worker, _ = make_worker(fake)
    with pytest.raises(UnauthenticatedError, match="register_worker"):
        await asyncio.wait_for(worker.run(handle_signals=False), 5)


async def test_a_switched_off_worker_waits_for_its_end(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAULIER_WORKER_ENABLED", "false")
    worker, _ = make_worker(fake)
    task = asyncio.create_task(worker.run(handle_signals=False))
    await worker.registered()
    assert not task.done()
    worker.drain()
    await asyncio.wait_for(task, 10)
    assert not fake.sessions


async def test_an_error_of_enqueue_that_the_handler_caught_does_not_fail_the_job(fake: FakeServer) -> None:
    from haulier import InvalidArgumentError

    worker = Worker(fake.address)
    refused = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", 0.0)

    @worker.command
    async def catches(job: Job) -> str:
        fake.errors["EnqueueCommand"].append(refused)
        with pytest.raises(InvalidArgumentError):
            await job.enqueue("x")
        return "caught"

    @worker.command
    def forgets(job: Job) -> None:
        fake.errors["EnqueueCommand"].append(refused)
        job.enqueue("x")

    async with running(worker):
        caught = await fake.add("catches")
        await asyncio.wait_for(caught.done.wait(), 10)
        forgotten = await fake.add("forgets")
        await asyncio.wait_for(forgotten.done.wait(), 10)
    assert caught.kind == "complete"
    assert forgotten.outcomes[0].fail.code == "InvalidArgumentError"


async def test_who_awaits_a_log_line_loses_none(fake: FakeServer) -> None:
    fake.credit = 200_000
    worker = Worker(fake.address)

    @worker.command
    async def flood(job: Job) -> None:
        for _ in range(600):
            await job.log("x" * 16_000)

    row = await fake.add("flood")
    async with running(worker):
        await asyncio.wait_for(row.done.wait(), 20)
    assert row.log_sequence == 600


async def test_a_worker_that_gets_nothing_says_why(fake: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    fake.errors["ClaimJob"] = [(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING", 0.0)] * 2
    worker, _ = make_worker(fake)
    row = await fake.add("talk", '{"lines":0}')
    async with running(worker):
        await asyncio.wait_for(row.done.wait(), 10)
    assert sum("a claim was not answered" in record.message for record in caplog.records if record.levelname == "WARNING") == 1


async def test_what_a_handler_tells_under_an_expired_lease_is_a_typed_error_and_never_hangs(fake: FakeServer) -> None:
    fake.credit = 1  # no line is ever sent
    worker = Worker(fake.address)
    began, go_on = threading.Event(), threading.Event()
    told: list[str] = []

    @worker.command
    def deaf(job: Job) -> None:
        for _ in range(250):
            job.log("x" * 16_000)
        began.set()
        go_on.wait(10)
        for _ in range(250):
            job.log("x" * 16_000).wait(5)
        try:
            job.save_checkpoint({"at": 1}).wait(5)
        except Cancelled as error:
            told.append(str(error))
        job.progress(0.5)

    row = await fake.add("deaf")
    async with running(worker):
        await until(began.is_set)
        lost = report_pb2.Directive()
        lost.lease_lost.lease = row.lease
        await fake.direct(lost)
        await until(lambda: worker._running._session.reports.held_count == 0)  # type: ignore[union-attr]
        go_on.set()
        await until(lambda: told, 10)
    assert told == ["the lease is no longer held"]
    assert row.outcomes == []


async def test_a_stream_that_acknowledges_no_heartbeat_is_replaced_within_its_session(fake: FakeServer) -> None:
    fake.answer_beats = False
    fake.beat_interval, fake.lease_time = 0.5, 60.0
    worker, _ = make_worker(fake)
    async with running(worker):
        await until(lambda: fake.points["report.open"] >= 2)
        fake.answer_beats = True
        row = await fake.add("talk", '{"lines":2}')
        await asyncio.wait_for(row.done.wait(), 10)
    assert row.kind == "complete"
    assert len(fake.sessions) == 1, "a stream is broken off, not the session"
