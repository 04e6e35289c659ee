"""The worker process: serves commands, and runs periodic and background workers."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
import functools
import inspect
import logging
import os
import signal
import socket
import sys
import threading
import time
import types
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar, overload

from . import _limits as limits
from ._attempt import Attempt, outcome_of_error, outcome_of_result
from ._bell import Waiter
from ._client import Client
from ._command import CommandDefinition, define, definition_of, remember
from ._convert import duration
from ._errors import DeadlineExceededError, InvalidArgumentError, ResourceExhaustedError, UnavailableError
from ._job import read_request
from ._log import _current
from ._options import JobOptions
from ._periodic import Background, Periodic, PeriodicWorker
from ._records import CatchUpPolicy, OverlapPolicy, RecurringTask, Schedule
from ._report import End
from ._session import Session
from ._threads import Threads
from ._transport import SDK, Connection
from .v1 import report_pb2
from .v1 import worker_service_pb2 as pb

__all__ = ["Worker"]

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger("haulier")


class Worker:
    """A worker process: claims jobs of the commands it serves and runs their handlers.

    Claims, reports and async handlers run in the event loop that called `run`; sync handlers each in a thread. While a handler
    blocks the event loop a thread of its own sends the heartbeats, so that no lease is lost by it; all else waits until the loop
    goes on. It registers anew after every break, as often as it takes. With `HAULIER_WORKER_ENABLED=false` it claims nothing,
    with `HAULIER_PERIODIC_ENABLED=false` it runs no periodic and background workers; `run` then only waits for the end.

    Args:
        address: Address of the server, as for `Client`.
        api_key: API key, as for `Client`.
        ca_certificate: Authority of the server's certificate, as for `Client`.
        client_certificate: Certificate and key of this process, as for `Client`.
        server_name: Name in the server's certificate, as for `Client`.
        name: Name for people. Default: the host's name.
        slots: Most jobs at once; at most 10,000.
        queues: Queues it serves.
        labels: Labels for people.
        lease_time: Wish for how long it may be silent before its jobs are taken back: 5 s to 10 min. Default: 30 s.
        drain_timeout: How long handlers may take to end by themselves when the process stops.

    Example:
        >>> worker = Worker(slots=20)
        >>> @worker.command
        ... async def resize(job: Job, image: str, width: int) -> str:
        ...     await job.progress(0.5, "half way")
        ...     return f"{image}@{width}"
        >>> asyncio.run(worker.run())  # doctest: +SKIP
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        api_key: str | None = None,
        ca_certificate: bytes | None = None,
        client_certificate: tuple[bytes, bytes] | None = None,
        server_name: str | None = None,
        name: str | None = None,
        slots: int = limits.SLOTS_DEFAULT,
        queues: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        lease_time: timedelta | None = None,
        drain_timeout: timedelta = limits.DRAIN_TIMEOUT,
    ) -> None:
        if not 1 <= slots <= limits.SLOTS_MAX:
            raise InvalidArgumentError(f"slots cannot be {slots}, 1 to {limits.SLOTS_MAX} can", operation="worker")
        if isinstance(queues, str):
            raise InvalidArgumentError("queues need a sequence of names, not one name", operation="worker")
        self._connection = Connection(
            address,
            api_key=api_key,
            ca_certificate=ca_certificate,
            client_certificate=client_certificate,
            server_name=server_name,
        )
        self._name = name or socket.gethostname() or "worker"
        self._slots = slots
        self._queues = tuple(queues)
        self._labels = dict(labels or {})
        self._lease_time = lease_time
        self._drain_timeout = drain_timeout
        self._definitions: dict[str, CommandDefinition] = {}
        self._local: list[PeriodicWorker] = []
        self._recurring: list[RecurringTask] = []
        self._client: Client | None = None
        self._running: _Running | None = None
        self._ready = concurrent.futures.Future[None]()

    # Declaring

    @overload
    def command(self, function: F, /) -> F: ...

    @overload
    def command(
        self, name: str | None = None, /, *, worker: str | None = None, version: str | None = None
    ) -> Callable[[F], F]: ...

    def command(
        self, function_or_name: F | str | None = None, /, *, worker: str | None = None, version: str | None = None
    ) -> F | Callable[[F], F]:
        """Declares and serves a command; the decorator gives the function back unchanged.

        The first parameter gets the job when it is annotated with `Job` or named `job` without an annotation. The others get
        the request: a single one annotated with a dataclass, a pydantic or msgspec model or a TypedDict, or named
        `request`, gets all of it; otherwise the request is an object with the parameters as keys. What does not have the
        annotated form fails the job at once. A function that takes the job alone gets any request, as `job.request`.

        Args:
            function_or_name: The function, or the name of the command. Default: the function's name.
            worker: Named worker in which its jobs run strictly one at a time, over all worker processes.
            version: The program's own version of the handler, for people.
        """

        def declare(function: F) -> F:
            name = function_or_name if isinstance(function_or_name, str) else None
            definition = define(function, name=name, worker=worker, version=version)
            self._add(definition)
            remember(function, definition)
            return function

        if function_or_name is None or isinstance(function_or_name, str):
            return declare
        return declare(function_or_name)

    def add(self, *functions: Callable[..., Any]) -> Worker:
        """Serves functions that were declared with `haulier.command`, or any function under its own name."""
        for function in functions:
            self._add(definition_of(function))
        return self

    def periodic(
        self,
        period: timedelta,
        *,
        name: str | None = None,
        run_at_start: bool = False,
        singleton: bool | str = False,
        lease_time: timedelta = limits.LOCK_LEASE,
        enabled: bool = True,
    ) -> Callable[[F], F]:
        """Runs a function of this process again and again; the period counts from the end of a run.

        Args:
            period: Time between the end of a run and the next, and before the first one.
            name: Name. Default: the function's name.
            run_at_start: Run at once when it starts; for a singleton, each time this process becomes the one that works.
            singleton: Run in one process only, over the whole cluster: by a lock of that name, or of the worker's own.
            lease_time: How long another process waits before it takes over from a singleton's process that died: 5 s to 10 min.
            enabled: Whether it runs; `PeriodicWorker.enabled` switches it later.
        """

        def declare(function: F) -> F:
            self.add_periodic(
                function,
                period,
                name=name,
                run_at_start=run_at_start,
                singleton=singleton,
                lease_time=lease_time,
                enabled=enabled,
            )
            return function

        return declare

    def add_periodic(
        self,
        function: Callable[..., Any],
        period: timedelta,
        *,
        name: str | None = None,
        run_at_start: bool = False,
        singleton: bool | str = False,
        lease_time: timedelta = limits.LOCK_LEASE,
        enabled: bool = True,
    ) -> Periodic:
        """As `periodic`, also while the worker runs; gives the handle to switch it off or end it."""
        made = Periodic(
            function,
            period=period,
            name=name,
            run_at_start=run_at_start,
            singleton=singleton,
            lease_time=lease_time,
            enabled=enabled,
        )
        self._add_local(made)
        return made

    def background(
        self,
        *,
        name: str | None = None,
        singleton: bool | str = False,
        lease_time: timedelta = limits.LOCK_LEASE,
        enabled: bool = True,
    ) -> Callable[[F], F]:
        """Runs a function of this process that has a loop of its own; it is restarted with backoff when it throws.

        Args:
            name: Name. Default: the function's name.
            singleton: Run in one process only, over the whole cluster: by a lock of that name, or of the worker's own.
            lease_time: How long another process waits before it takes over from a singleton's process that died: 5 s to 10 min.
            enabled: Whether it runs; `PeriodicWorker.enabled` switches it later.
        """

        def declare(function: F) -> F:
            self.add_background(function, name=name, singleton=singleton, lease_time=lease_time, enabled=enabled)
            return function

        return declare

    def add_background(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        singleton: bool | str = False,
        lease_time: timedelta = limits.LOCK_LEASE,
        enabled: bool = True,
    ) -> Background:
        """As `background`, also while the worker runs; gives the handle to switch it off or end it."""
        made = Background(function, name=name, singleton=singleton, lease_time=lease_time, enabled=enabled)
        self._add_local(made)
        return made

    def recurring(
        self,
        schedule: Schedule,
        *,
        name: str | None = None,
        request: Any = None,
        options: JobOptions | None = None,
        overlap_policy: OverlapPolicy | None = None,
        catch_up_policy: CatchUpPolicy | None = None,
    ) -> Callable[[F], F]:
        """Serves a command, unless it is served already, and puts a recurring task for it each time the worker starts.

        Putting it again never fires, resets or unpauses it. For more, give a whole `RecurringTask` to `add_recurring_task`.

        Args:
            schedule: When it is due.
            name: Name of the task. Default: that of the command.
            request: Request of each run.
            options: Options of each run.
            overlap_policy: What to do when an earlier run has not ended. Default: `ALLOW`.
            catch_up_policy: What to do about due times missed while no server ran. Default: `LAST`.

        Example:
            >>> worker = Worker()
            >>> @worker.recurring(Schedule.daily("Europe/Vienna"), overlap_policy=OverlapPolicy.SKIP)
            ... async def clean_up(job: Job) -> None:
            ...     ...
        """

        def declare(function: F) -> F:
            definition = definition_of(function)
            if definition.name not in self._definitions:
                self._add(definition)
            self.add_recurring_task(
                RecurringTask(
                    name=name or definition.name,
                    schedule=schedule,
                    command=definition.name,
                    request=request,
                    options=options,
                    overlap_policy=overlap_policy,
                    catch_up_policy=catch_up_policy,
                )
            )
            return function

        return declare

    def add_recurring_task(self, task: RecurringTask) -> Worker:
        """Puts a recurring task each time the worker starts, before it claims anything."""
        if self._running is not None:
            raise InvalidArgumentError("recurring tasks cannot be added while the worker runs", operation="worker")
        self._recurring.append(task)
        return self

    @property
    def commands(self) -> tuple[str, ...]:
        """Names of the commands it serves."""
        return tuple(self._definitions)

    def definition(self, name: str) -> CommandDefinition:
        """The definition of a command it serves, for the test kit."""
        return self._definitions[name]

    @property
    def client(self) -> Client:
        """A client with the worker's address and key, for the event loop of `run`."""
        if self._client is None:
            self._client = Client.over(self._connection.another())
        return self._client

    # Running

    async def run(self, *, handle_signals: bool = True) -> None:
        """Runs until it is drained: by SIGTERM or SIGINT, by `drain`, or by an operator.

        On the first signal it claims nothing more and lets handlers end; those that take longer than `drain_timeout` get the
        stop signal and their jobs go back without having spent the attempt. A second signal stops handlers at once. When
        the call is cancelled the same happens as on a second signal.

        Args:
            handle_signals: Whether to act on SIGTERM and SIGINT; only possible in the main thread.

        Raises:
            HaulierError: The server refuses this worker process at its first registration.
        """
        if self._running is not None:
            raise RuntimeError("the worker runs already")
        running = self._running = _Running(self)
        try:
            with _signals(running) if handle_signals else contextlib.nullcontext():
                await running.run()
        finally:
            self._running = None
            self._ready = concurrent.futures.Future[None]()
            if self._client is not None:
                await self._client.close()
                self._client = None

    def run_forever(self) -> None:
        """As `asyncio.run(worker.run())`: for programs without asyncio."""
        asyncio.run(self.run())

    def drain(self, grace: timedelta | None = None) -> None:
        """Claims nothing more, lets handlers end, then ends `run`. From any thread.

        Args:
            grace: How long handlers may take. Default: `drain_timeout`.
        """
        if self._running is not None:
            self._running.drain(grace)

    def abort(self) -> None:
        """As `drain`, but stops handlers at once. From any thread."""
        if self._running is not None:
            self._running.abort()

    async def registered(self) -> None:
        """Waits until the worker process has registered: jobs are claimed from now on."""
        await asyncio.wrap_future(self._ready)

    # Inside

    def _add(self, definition: CommandDefinition) -> None:
        if definition.name in self._definitions:
            raise InvalidArgumentError(f"the command {definition.name!r} is served already", operation="worker")
        if self._running is not None:
            raise InvalidArgumentError("commands cannot be added while the worker runs", operation="worker")
        self._definitions[definition.name] = definition

    def _add_local(self, worker: PeriodicWorker) -> None:
        self._local.append(worker)
        if self._running is not None:
            self._running.start_local(worker)

    def _registration(self) -> pb.RegisterWorkerRequest:
        request = pb.RegisterWorkerRequest(
            name=self._name,
            instance_id=str(uuid.uuid4()),
            queues=self._queues,
            labels=self._labels,
            slots=self._slots,
            sdk=SDK,
        )
        if self._lease_time is not None:
            request.lease_time.CopyFrom(duration(self._lease_time))
        for definition in self._definitions.values():
            request.commands.add(
                command=definition.name,
                worker=definition.worker,
                version=definition.version or "",
                json_schema=definition.schema or "",
            )
        return request

    def _session(self, runner: _Running) -> Session:
        return Session(
            self._connection.another(),
            self._registration(),
            self._definitions,
            runner,
            slots=self._slots,
            drain_timeout=self._drain_timeout,
        )


class _Running:
    """One run of a worker: its session, its handlers and its local workers."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._threads = Threads("haulier-job")
        self._waiting = collections.deque[Attempt]()
        """Whose handlers are to begin."""
        self._resuming = False
        """The next turn goes on with them."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Those of handlers."""
        self._idle: Waiter | None = None
        """What a task waits for that has no handler to run."""
        self._ended: list[End] = []
        self._telling = False
        self._local: dict[PeriodicWorker, asyncio.Task[None]] = {}
        self._stop = asyncio.Event()
        self._signals = 0
        self._session: Session | None = None
        if worker.commands and _enabled("HAULIER_WORKER_ENABLED"):
            self._session = worker._session(self)  # noqa: SLF001

    async def run(self) -> None:
        for local in self._worker._local:  # noqa: SLF001
            self.start_local(local)
        ended: asyncio.Future[Any] | None = None
        try:
            if self._session is None:
                self._worker._ready.set_result(None)  # noqa: SLF001
                await self._stop.wait()
            else:
                if not await self._put_recurring_tasks():
                    return
                self._session.registered.add_done_callback(self._registered)
                ended = self._loop.create_task(self._session.main(), name="haulier session")
                await asyncio.shield(ended)
        except asyncio.CancelledError:
            if self._session is not None and ended is not None:
                self._session.abort()
                with contextlib.suppress(Exception):
                    await asyncio.shield(ended)
            raise
        finally:
            await self._stop_local()
            self._waiting.clear()
            for task in list(self._tasks):
                task.cancel()
            self._threads.close()

    async def _put_recurring_tasks(self) -> bool:
        """Puts what the worker declares, however long the server is away; False: it was stopped before."""
        delay = limits.RETRY_DELAY_FIRST
        for task in self._worker._recurring:  # noqa: SLF001
            while not self._stop.is_set():
                try:
                    put = await self._worker.client.put_recurring_task(task)
                except (UnavailableError, ResourceExhaustedError, DeadlineExceededError) as error:
                    _log.warning("the recurring task %r could not be put, trying again: %s", task.name, error)
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._stop.wait(), delay)
                    delay = min(delay * 2, limits.RECONNECT_DELAY_MAX)
                else:
                    _log.info("recurring task %r: %s", put.task.name, put.result)
                    break
        return not self._stop.is_set()

    def _registered(self, _: object) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self._worker._ready.set_result(None)  # noqa: SLF001

    def drain(self, grace: timedelta | None = None) -> None:
        self._loop.call_soon_threadsafe(self._begin_stop)
        if self._session is not None:
            self._session.drain(grace)

    def abort(self) -> None:
        self._loop.call_soon_threadsafe(self._begin_stop)
        if self._session is not None:
            self._session.abort()

    def _begin_stop(self) -> None:
        self._stop.set()
        for local in self._local:
            local.signal_stop()

    def signalled(self) -> None:
        self._signals += 1
        if self._signals == 1:
            _log.info("stopping: no more jobs are claimed, handlers may end; a second signal stops them")
            self.drain()
        else:
            self.abort()

    # Handlers (Runner)

    def start(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            if attempt.definition.is_async:
                self._waiting.append(attempt)
            else:
                self._threads.run(_SyncRun(attempt))
        if self._waiting and not self._resuming:
            self._start_handlers()

    def cancel(self, attempt: Attempt) -> None:
        # A handler that does not wait has no task to be cancelled: it has ended, or sees its stop signal when it begins.
        if attempt.task is not None:
            attempt.task.cancel()

    def _start_handlers(self) -> None:
        self._resuming = False
        if self._idle is None or self._idle.done():
            self._take_up()
        else:
            self._idle.wake()

    def _take_up(self) -> None:
        """Makes tasks for handlers that wait for their turn: two, each of which is followed by two when its handler waits."""
        eagerly = _EAGER and self._loop.get_task_factory() is None
        for _ in range(min(2, len(self._waiting))):
            work = self._run_handlers()
            if not eagerly:
                self._loop.create_task(work)
            else:
                _begin_eagerly(work, self._loop)
                if not self._waiting:
                    return

    async def _run_handlers(self) -> None:
        """Runs handlers one after the other, for as long as they end without having waited; the first that waits keeps the task.

        So a task is made for many handlers, and yet none meets what another has done to its task: each has a context of its own,
        and one that has waited, cancelled its task or still holds it is the last that runs in it.
        """
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                untouched, rest = self._run_row(task)
                if rest is not None:
                    await rest
                if not untouched or self._idle is not None:
                    return
                self._idle = Waiter(loop=self._loop)
                try:
                    await self._idle
                finally:
                    self._idle = None
        finally:
            self._tasks.discard(task)

    def _run_row(self, task: asyncio.Task[None]) -> tuple[bool, Coroutine[Any, Any, None] | None]:
        """Runs handlers that wait for their turn. Whether the task can run others, and the rest of the last that ran in it."""
        waiting, end = self._waiting, self._end
        cancelled = getattr(task, "cancelling", None) or functools.partial(getattr, task, "_must_cancel")  # before 3.11
        holders = sys.getrefcount(task)
        until = time.monotonic() + limits.HANDLERS_TURN
        over = False
        self._telling = True  # below: those that end in this turn are told together
        try:
            while waiting:
                attempt = waiting.popleft()
                context = contextvars.copy_context()
                waits = context.run(_begin, attempt, end)
                if waits is not None:
                    attempt.task = task
                    return False, _go_on(attempt, waits, context, end)
                if cancelled() or sys.getrefcount(task) != holders:
                    return False, None
                over = time.monotonic() > until
                if over:
                    break
            return True, None
        finally:
            if waiting and not self._resuming:
                self._resuming = over  # one row in each turn, unless their handlers wait
                self._loop.call_soon(self._start_handlers)
            self._tell_ended()

    def _end(self, attempt: Attempt, outcome: report_pb2.OutcomeReport | None) -> None:
        """Handlers that end in one turn of the loop are told together: one message and one claim for all of them."""
        attempt.task = None
        self._ended.append((attempt, outcome))
        if not self._telling:
            self._telling = True
            self._loop.call_soon(self._tell_ended)

    def _tell_ended(self) -> None:
        self._telling = False
        if self._ended:
            ended, self._ended = self._ended, []
            ended[0][0].session.ended(ended)

    # Periodic and background workers

    def start_local(self, local: PeriodicWorker) -> None:
        if not _enabled("HAULIER_PERIODIC_ENABLED") or local in self._local:
            return
        task = self._loop.create_task(local.run(self._worker.client), name=f"haulier {local.name}")
        self._local[local] = task

    async def _stop_local(self) -> None:
        tasks = list(self._local.values())
        for local in self._local:
            local.signal_stop()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=limits.DRAIN_STOP_GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


_EAGER = sys.version_info >= (3, 12)
"""Whether tasks can begin at once; one that ends without having waited then never goes through the event loop."""


def _begin_eagerly(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    return asyncio.Task(work, loop=loop, eager_start=True)  # type: ignore[call-arg,unused-ignore]  # since 3.12


_COROUTINE: type[Any] = types.CoroutineType
_Ended = Callable[[Attempt, "report_pb2.OutcomeReport | None"], None]
_Waits = tuple[Coroutine[Any, Any, Any], Any]
"""A coroutine, and what it waits for."""


def _begin(attempt: Attempt, end: _Ended) -> _Waits | None:
    """Begins a handler. None: it has ended, without having waited for anything."""
    _current.set(attempt)
    binding = True
    try:
        # A stop signal that came before it began has cancelled nothing yet.
        if attempt.stop is not None:
            raise asyncio.CancelledError
        definition = attempt.definition
        job = attempt.job if definition.takes_job else None
        arguments, keywords = definition.bind(job, read_request(attempt.leased))
        binding = False
        work: Any = definition.handler(*arguments, **keywords)
        if type(work) is not _COROUTINE:
            work = _wait_for(work)
        try:
            return work, work.send(None)
        except StopIteration as ended:
            result = ended.value
        if attempt.pending:
            work = _wait_for_pending(attempt, result)
            try:
                return work, work.send(None)
            except StopIteration:
                pass
        outcome = outcome_of_result(attempt, result)
    except BaseException as error:
        end(attempt, outcome_of_error(attempt, error, binding=binding))
        if isinstance(error, KeyboardInterrupt):
            raise
        return None
    end(attempt, outcome)
    return None


async def _go_on(attempt: Attempt, waits: _Waits, context: contextvars.Context, end: _Ended) -> None:
    """Runs the rest of a handler that waits."""
    try:
        result = await _steps(*waits, context)
        await _wait_for_pending(attempt, result)
        outcome = context.run(outcome_of_result, attempt, result)
    except BaseException as error:
        end(attempt, outcome_of_error(attempt, error, binding=False))
        if isinstance(error, KeyboardInterrupt):
            raise
        return
    end(attempt, outcome)


@types.coroutine
def _steps(work: Coroutine[Any, Any, Any], awaited: Any, context: contextvars.Context) -> Generator[Any, Any, Any]:
    """All further steps of a coroutine, in its context; what it returns."""
    while True:
        step: Callable[[Any], Any]
        try:
            given = yield awaited
            step = work.send
        except BaseException as error:
            given = error
            step = work.throw
        try:
            awaited = context.run(step, given)
        except StopIteration as ended:
            return ended.value


async def _wait_for_pending(attempt: Attempt, result: Any) -> Any:
    for made in attempt.pending:
        if not made.looked_at:
            await made
    return result


class _SyncRun:
    """A sync handler in its thread."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __call__(self) -> None:
        attempt = self._attempt
        _current.set(attempt)
        binding = True
        outcome: report_pb2.OutcomeReport | None
        try:
            job, definition = attempt.job, attempt.definition
            job.raise_if_stopped()
            arguments, keywords = definition.bind(job, job.request)
            binding = False
            result = definition.handler(*arguments, **keywords)
            if inspect.isawaitable(result):
                result = asyncio.run(_wait_for(result))
            for made in attempt.pending:
                if not made.looked_at:
                    made.wait()
            outcome = outcome_of_result(attempt, result)
        except BaseException as error:
            outcome = outcome_of_error(attempt, error, binding=binding)
        attempt.session.ended_in_thread(attempt, outcome)


async def _wait_for(result: Awaitable[Any]) -> Any:
    return await result


def _enabled(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() not in ("0", "false", "no", "off")


@contextlib.contextmanager
def _signals(running: _Running) -> Any:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    set_here: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, running.signalled)
                set_here.append(number)
    try:
        yield
    finally:
        for number in set_here:
            loop.remove_signal_handler(number)
