"""How async handlers run: many in one task as long as they do not wait, and each as if it were alone."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

import pytest
from fake_server import FakeServer
from running import running

from haulier import StopKind, StopSignal, Worker, current_job
from haulier._attempt import Attempt
from haulier._bell import Bell, Door, Waiter
from haulier._held import COMPLETED, completed_bytes
from haulier._limits import LEASE_BYTES_MAX
from haulier._worker import _Running
from haulier.v1 import lease_pb2, report_pb2
from haulier.v1 import worker_service_pb2 as pb


class Handlers:
    """Handlers of a worker without a server: what the session would start and be told."""

    def __init__(self, *functions: Callable[..., Any]) -> None:
        self.worker = Worker("127.0.0.1:1").add(*functions)
        self.running = _Running(self.worker)
        self.outcomes: dict[str, report_pb2.OutcomeReport | None] = {}
        self.told: list[int] = []

    def attempt(self, command: str, request: str = "") -> Attempt:
        leased = lease_pb2.LeasedJob(lease=f"lease {command} {request}", command=command, job_id=1)
        leased.request.json = request or "null"
        session: Any = self
        return Attempt(leased, self.worker.definition(command), session, time.monotonic())

    def start(self, *attempts: Attempt) -> None:
        """As the session does."""
        self.running.start(attempts)

    def ended(self, ends: Any) -> None:
        self.told.append(len(ends))
        for attempt, outcome in ends:
            assert attempt.lease not in self.outcomes
            self.outcomes[attempt.lease] = outcome

    def outcome(self, attempt: Attempt) -> str:
        """`complete: <json>`, `fail: <code>` and so on."""
        report = self.outcomes[attempt.lease]
        assert report is not None
        kind = str(report.WhichOneof("outcome"))
        return f"{kind}: {report.complete.result.json if kind == 'complete' else report.fail.code}"

    async def until(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.outcomes) < count:
            assert time.monotonic() < deadline, f"only {len(self.outcomes)} of {count} ended"
            await asyncio.sleep(0.001)


def tasks_of(handlers: Handlers) -> set[Any]:
    return set(handlers.running._tasks)


async def test_handlers_that_never_wait_share_a_task_and_are_told_together() -> None:
    names: list[str] = []

    async def quick(n: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        names.append(task.get_name())
        return n

    handlers = Handlers(quick)
    for _ in range(3):
        before = len(names)
        attempts = [handlers.attempt("quick", f'{{"n":{n + before}}}') for n in range(50)]
        handlers.start(*attempts)
        await handlers.until(before + 50)
    assert len(names) == 150
    assert len(set(names)) < 10
    assert len(handlers.told) < 15  # nearly always 3: a row has 5 ms
    assert len(tasks_of(handlers)) == 1  # it waits for others


async def test_as_many_handlers_wait_at_once_as_are_started() -> None:
    waiting, release = 0, asyncio.Event()
    most = 0

    async def waits(n: int) -> None:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await release.wait()
        waiting -= 1

    async def quick(n: int) -> None:
        pass

    handlers = Handlers(waits, quick)
    attempts = [handlers.attempt("waits" if n % 2 else "quick", f'{{"n":{n}}}') for n in range(400)]
    handlers.start(*attempts)
    await handlers.until(200)
    while most < 200:
        await asyncio.sleep(0)
    release.set()
    await handlers.until(400)
    assert {handlers.outcome(attempt) for attempt in attempts} == {"complete: "}
    assert len(tasks_of(handlers)) <= 1


@pytest.mark.parametrize("waits", [False, True])
async def test_what_a_handler_sets_no_other_sees(waits: bool) -> None:
    seen = contextvars.ContextVar[int]("seen")
    left: list[asyncio.Task[Any]] = []

    async def later(n: int) -> list[Any]:
        await asyncio.sleep(0.02)
        job = current_job()
        assert job is not None
        return [seen.get(), job.request["n"]]

    async def look(n: int) -> list[int]:
        found = seen.get(0)
        seen.set(n)
        left.append(asyncio.create_task(later(n)))  # it goes on in the context of its maker
        if waits and n % 2:
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
        return [found, seen.get()]

    handlers = Handlers(look)
    attempts = [handlers.attempt("look", f'{{"n":{n}}}') for n in range(1, 41)]
    handlers.start(*attempts)
    await handlers.until(40)
    assert [handlers.outcome(attempt) for attempt in attempts] == [f"complete: [0,{n}]" for n in range(1, 41)]
    assert sorted(await asyncio.gather(*left)) == [[n, n] for n in range(1, 41)]
    assert seen.get(0) == 0


async def test_a_cancel_ends_one_of_many_and_the_others_go_on() -> None:
    release = asyncio.Event()

    async def waits(n: int) -> int:
        await release.wait()
        return n

    handlers = Handlers(waits)
    attempts = [handlers.attempt("waits", f'{{"n":{n}}}') for n in range(30)]
    handlers.start(*attempts)
    while any(attempt.task is None for attempt in attempts):
        await asyncio.sleep(0)
    assert len({attempt.task for attempt in attempts}) == 30
    for attempt in attempts[::10]:
        attempt.signal(StopSignal(kind=StopKind.CANCEL))
        handlers.running.cancel(attempt)
        handlers.running.cancel(attempt)
    await handlers.until(3)
    await asyncio.sleep(0.01)
    assert {handlers.outcome(attempt) for attempt in attempts[::10]} == {"cancelled: "}
    release.set()
    await handlers.until(30)
    assert [handlers.outcome(attempt) for attempt in attempts[1:10]] == [f"complete: {n}" for n in range(1, 10)]
    handlers.running.cancel(attempts[0])  # too late, and nobody's
    after = [handlers.attempt("waits", f'{{"n":{n}}}') for n in range(30, 40)]
    handlers.start(*after)
    await handlers.until(40)
    assert [handlers.outcome(attempt) for attempt in after] == [f"complete: {n}" for n in range(30, 40)]


@pytest.mark.parametrize("obeys", [False, True])
async def test_a_cancel_that_arrives_as_the_handler_ends_hits_no_other(obeys: bool) -> None:
    step = asyncio.get_running_loop().create_future()

    async def ends(n: int) -> str:
        try:
            await step
        except asyncio.CancelledError:
            if obeys:
                raise
        return "ended"

    async def next_one(n: int) -> int:
        if n % 2:
            await asyncio.sleep(0)
        return n

    handlers = Handlers(ends, next_one)
    late = handlers.attempt("ends", '{"n":0}')
    handlers.start(late)
    while late.task is None:
        await asyncio.sleep(0)
    task = late.task
    # In one turn: it may go on, is told to stop, and others are there.
    step.set_result(None)
    late.signal(StopSignal(kind=StopKind.CANCEL))
    handlers.running.cancel(late)
    others = [handlers.attempt("next_one", f'{{"n":{n}}}') for n in range(20)]
    handlers.start(*others)
    await handlers.until(21)
    assert handlers.outcome(late) == ("cancelled: " if obeys else 'complete: "ended"')
    assert [handlers.outcome(attempt) for attempt in others] == [f"complete: {n}" for n in range(20)]
    handlers.running.cancel(late)
    await asyncio.sleep(0)
    assert task.done()


@pytest.mark.parametrize("first", ["cancels", "keeps", "later"])
async def test_a_handler_that_does_something_to_its_task_is_the_last_in_it(first: str) -> None:
    kept: list[Any] = []

    async def rash(what: str) -> str:
        task = asyncio.current_task()
        assert task is not None
        if what == "cancels":
            task.cancel()
        elif what == "keeps":
            kept.append(task)
        elif what == "later":
            asyncio.get_running_loop().call_later(0.02, task.cancel)  # of a handler that has ended by then
        else:
            await asyncio.sleep(0.05)
        return what

    handlers = Handlers(rash)
    attempts = [handlers.attempt("rash", f'{{"what":"{what}"}}') for what in (first, "waits")]
    again = handlers.attempt("rash", f'{{"what":"{first}"}}')
    again.lease = "again"
    handlers.start(*attempts, again)
    await handlers.until(3)
    assert [handlers.outcome(attempt) for attempt in (*attempts, again)] == [
        f'complete: "{first}"',
        'complete: "waits"',
        f'complete: "{first}"',
    ]
    assert len(set(kept)) == len(kept)


async def test_a_stop_signal_before_the_handler_began_is_seen() -> None:
    began: list[int] = []

    async def never(n: int) -> None:
        began.append(n)

    handlers = Handlers(never)
    attempt = handlers.attempt("never", '{"n":1}')
    attempt.signal(StopSignal(kind=StopKind.DRAIN, reason="stopping"))
    handlers.running.cancel(attempt)
    handlers.start(attempt)
    await handlers.until(1)
    assert handlers.outcome(attempt) == "release: "
    assert not began


async def test_timeouts_and_groups_work_in_handlers() -> None:
    async def waits_for() -> str:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except asyncio.TimeoutError:
            return "over"
        return "?"

    async def gathers() -> list[int]:
        async def one(n: int) -> int:
            await asyncio.sleep(0.001 * n)
            return n

        return list(await asyncio.gather(*(one(n) for n in range(5))))

    functions: list[Callable[..., Any]] = [waits_for, gathers]
    expected = {"waits_for": 'complete: "over"', "gathers": "complete: [0,1,2,3,4]"}
    if sys.version_info >= (3, 11):

        async def has_timeout(limit: float) -> str:
            try:
                async with asyncio.timeout(limit):
                    await asyncio.Event().wait()
            except TimeoutError:
                task = asyncio.current_task()
                assert task is not None
                return f"over, {task.cancelling()}"
            return "?"

        async def group_fails() -> str:
            async def fails() -> None:
                raise ValueError("one of the group")

            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails())
                    group.create_task(asyncio.sleep(10))
                    await asyncio.sleep(10)
            except Exception as error:
                return ", ".join(type(one).__name__ for one in getattr(error, "exceptions", ()))
            return "?"

        functions += [has_timeout, group_fails]
        expected |= {"has_timeout": 'complete: "over, 0"', "group_fails": 'complete: "ValueError"'}
    handlers = Handlers(*functions)
    for round_ in range(2):
        attempts = {name: handlers.attempt(name, '{"limit":0.01}' if name == "has_timeout" else "") for name in expected}
        handlers.outcomes.clear()
        handlers.start(*attempts.values())
        await handlers.until(len(attempts))
        assert {name: handlers.outcome(attempt) for name, attempt in attempts.items()} == expected, round_


async def test_handlers_that_never_wait_do_not_starve_the_loop() -> None:
    turns = 0

    async def busy(n: int) -> None:
        until = time.monotonic() + 0.002
        while time.monotonic() < until:
            pass

    async def other() -> None:
        nonlocal turns
        while len(handlers.outcomes) < 100:
            turns += 1
            await asyncio.sleep(0)

    handlers = Handlers(busy)
    handlers.start(*(handlers.attempt("busy", f'{{"n":{n}}}') for n in range(100)))
    await other()
    assert turns > 20  # 200 ms of work, some 7 ms of it in one turn
    assert max(handlers.told) < 20


class Later:
    """Something that can be awaited and is no coroutine."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, int]:
        yield from asyncio.sleep(0).__await__()
        return self._value


async def test_a_handler_may_give_anything_that_can_be_awaited() -> None:
    async def coroutine(n: int) -> int:
        return n

    handlers = Handlers(coroutine)
    definition = handlers.worker.definition("coroutine")
    attempts = []
    for n in range(1, 4):
        attempt = handlers.attempt("coroutine", f'{{"n":{n}}}')
        attempts.append(attempt)
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    given: list[Callable[[int], Any]] = [Later, lambda n: future, coroutine]

    def handler(n: int) -> Any:
        return given[n - 1](n)

    object.__setattr__(definition, "handler", handler)
    asyncio.get_running_loop().call_later(0.01, future.set_result, 7)
    handlers.start(*attempts)
    await handlers.until(3)
    assert [handlers.outcome(attempt) for attempt in attempts] == ["complete: 1", "complete: 7", "complete: 3"]


def test_a_keyboard_interrupt_in_a_handler_ends_the_loop_and_is_told_and_system_exit_only_fails_the_job() -> None:
    loop = asyncio.new_event_loop()
    waits_too = [False]

    async def odd(kind: str) -> str:
        if waits_too[0]:
            await asyncio.sleep(0)
        if kind == "interrupt":
            raise KeyboardInterrupt
        if kind == "exit":
            raise SystemExit(3)
        return kind

    async def make() -> Handlers:
        return Handlers(odd)

    try:
        for waits_too[0] in (False, True):
            handlers = loop.run_until_complete(make())
            attempts = [handlers.attempt("odd", f'{{"kind":"{kind}"}}') for kind in ("before", "exit", "interrupt", "after")]
            loop.call_soon(handlers.start, *attempts)
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(asyncio.sleep(0.2))
            loop.run_until_complete(handlers.until(4))  # whoever goes on with the loop finds everything in order
            assert [handlers.outcome(attempt) for attempt in attempts] == [
                'complete: "before"',
                "fail: SystemExit",
                "fail: KeyboardInterrupt",
                'complete: "after"',
            ]
            for task in tasks_of(handlers):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()


async def test_draining_waits_for_handlers_that_wait_then_gives_their_jobs_back(fake: FakeServer) -> None:
    worker = Worker(fake.address, slots=20, drain_timeout=timedelta(seconds=0.2))
    waiting = 0

    @worker.command
    async def wait(seconds: float) -> str:
        nonlocal waiting
        waiting += 1
        await asyncio.sleep(seconds)
        return "slept"

    @worker.command
    async def quick() -> None:
        pass

    rows = [await fake.add("wait", f'{{"seconds":{seconds}}}') for seconds in [0.1] * 8 + [30] * 8]
    others = [await fake.add("quick") for _ in range(4)]
    async with running(worker) as task:
        while waiting < 16:
            await asyncio.sleep(0.005)
        await asyncio.wait_for(asyncio.gather(*(row.done.wait() for row in others)), 10)
        worker.drain()
        await asyncio.wait_for(task, 10)
    assert [row.kind for row in rows] == ["complete"] * 8 + ["release"] * 8
    assert fake.unregistered == ["session-1"]
    names = {getattr(one.get_coro(), "__qualname__", "") for one in asyncio.all_tasks()}
    assert not {name for name in names if "_run_handlers" in name}


@pytest.mark.parametrize(
    "leases", [["a"], ["lease-1", "lease-22"], ["x" * LEASE_BYTES_MAX, "b"], ["é"], [f"{n:040x}" for n in range(300)]]
)
def test_completed_outcomes_are_the_same_bytes_as_messages_of_their_own(leases: list[str]) -> None:
    message = pb.ReportJobsRequest()
    for lease in leases:
        report = message.outcomes.add()
        report.CopyFrom(COMPLETED)
        report.lease = lease
    assert pb.ReportJobsRequest.FromString(completed_bytes(leases)) == message
    assert len(completed_bytes(leases)) == message.ByteSize()


async def test_a_bell_wakes_at_once_when_it_is_released_and_soon_when_it_is_set() -> None:
    bell, rings = Bell(), 0

    async def listen() -> None:
        nonlocal rings
        while True:
            await bell.wait()
            bell.clear()
            rings += 1

    seen: list[int] = []

    def act() -> None:
        bell.hold()
        bell.set()
        bell.set()
        seen.append(rings)
        bell.release()
        seen.append(rings)

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(act)
    await asyncio.sleep(0)
    assert seen == [0, 1]
    bell.set()
    assert rings == 1
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert rings == 2
    bell.set()
    task.cancel()  # both at once: it ends
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 1)


async def test_a_task_that_waits_for_a_waiter_can_be_cancelled() -> None:
    waiter = Waiter(loop=asyncio.get_running_loop())

    async def wait() -> None:
        await waiter

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 1)
    waiter.wake()  # nobody is there
    waiter.wake_soon()


@pytest.mark.parametrize("empty", [False, True])
async def test_a_task_that_a_bell_wakes_goes_on_in_its_own_context(empty: bool) -> None:
    bell = Bell()
    turn = contextvars.ContextVar("turn", default=0)
    other = contextvars.ContextVar("other", default="nothing")
    seen: list[tuple[int, str]] = []

    async def listen() -> None:
        for _ in range(3):
            await bell.wait()
            bell.clear()
            seen.append((turn.get(), other.get()))
            turn.set(turn.get() + 1)

    def act() -> None:
        other.set("the context of who rings")
        bell.hold()
        bell.set()
        bell.release()

    context = contextvars.Context() if empty else contextvars.copy_context()
    if not empty:
        context.run(other.set, "its own")
    task = context.run(asyncio.create_task, listen())
    await asyncio.sleep(0)
    for _ in range(3):
        asyncio.get_running_loop().call_soon(act)
        await asyncio.sleep(0)
    await asyncio.wait_for(task, 1)
    mine = "nothing" if empty else "its own"
    assert seen == [(0, mine), (1, mine), (2, mine)]


@pytest.mark.parametrize("plain", [False, True])
def test_a_door_is_answered_for_any_thread_until_its_loop_is_closed(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise NotImplementedError  # as the event loops of Windows that have no readers

    loop = asyncio.new_event_loop()
    if plain:
        monkeypatch.setattr(loop, "add_reader", refuse)
    answers: list[int] = []
    door = Door(loop, lambda: answers.append(threading.get_ident()))

    async def until(count: int) -> None:
        while len(answers) < count:
            await asyncio.sleep(0.001)

    def knock() -> None:
        for _ in range(100):
            door.knock()

    try:
        door.knock()  # before the loop runs
        loop.run_until_complete(asyncio.wait_for(until(1), 10))
        for count in range(2, 5):
            thread = threading.Thread(target=knock)
            thread.start()
            loop.run_until_complete(asyncio.wait_for(until(count), 10))
            thread.join()
        assert set(answers) == {threading.get_ident()}
        door.close()
    finally:
        loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        door.knock()


async def test_a_task_wakes_another_which_runs_as_itself_and_sets_the_first_aside() -> None:
    bell, seen = Bell(), list[object]()
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")

    async def waits() -> None:
        variable.set("the other's")
        while True:
            await bell.wait()
            bell.clear()
            seen.append((asyncio.current_task(), variable.get()))
            if len(seen) == 3:
                raise ValueError("ends it")

    other = asyncio.create_task(waits())
    await asyncio.sleep(0)
    mine = asyncio.current_task()
    variable.set("mine")
    for count in (1, 2, 3):
        bell.hold()
        bell.set()
        assert len(seen) == count - 1
        bell.release()
        assert seen[count - 1 :] == [(other, "the other's")], "before the release returns"
        assert asyncio.current_task() is mine
        assert variable.get() == "mine"
    with pytest.raises(ValueError, match="ends it"):
        await other
    bell.release()
    assert len(seen) == 3, "nobody waits any more"
