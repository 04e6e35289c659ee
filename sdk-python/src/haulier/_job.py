"""The job in a handler's hands."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar, overload

from ._client import EnqueueItem, inherit, read_result, result_of
from ._convert import read, read_payload, read_time, seconds
from ._errors import Cancelled, InvalidArgumentError, JobFailedError, UnreadableRequestError
from ._log import JobLogger
from ._options import JobOptions, Word
from ._payload import Payload, decode
from ._records import ApiCall, EnqueuedJob, JobError, JobResult, JobState, LogLevel, ParentResult
from .v1 import lease_pb2

__all__ = ["Job", "Reported", "StopKind", "StopSignal"]

T = TypeVar("T")


class StopKind(Word):
    """Why a handler is to stop."""

    CANCEL = "cancel"
    """A client cancelled the job: obeying ends it as cancelled."""
    TIMEOUT = "timeout"
    """The timeout is over: obeying is a failed attempt."""
    DRAIN = "drain"
    """The worker process ends: obeying gives the job back without having spent the attempt."""
    IN_DOUBT = "in_doubt"
    """The lease of a strict job could not be renewed in time: obeying gives it back without having spent the attempt."""
    LEASE_LOST = "lease_lost"
    """The job is no longer ours: whatever comes of it is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal:
    """That a handler is to stop, and why."""

    kind: StopKind
    reason: str = ""
    """Why, in words."""
    grace: timedelta | None = None
    """How long it may take."""


class Reported(Generic[T]):
    """What a handler told, which takes effect at once.

    To await it, or in sync code to call `wait`, is optional: it waits until the server has it, or for logs and progress
    until there is room to tell more.
    """

    __slots__ = ("_future", "_looked_at", "_loop")

    def __init__(self, future: concurrent.futures.Future[T] | None = None, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._future = future
        self._loop = loop
        """What has to go on for the future to be done."""
        self._looked_at = False

    @property
    def looked_at(self) -> bool:
        """Whether anyone awaited it, and so has heard of its error."""
        return self._looked_at

    def __await__(self) -> Generator[Any, None, T]:
        if self._future is None:
            return None  # type: ignore[return-value]  # only Reported[None] has no future
        self._looked_at = True
        # Shielded: a handler that is cancelled while it waits takes nothing back.
        return (yield from asyncio.shield(asyncio.wrap_future(self._future)).__await__())

    def wait(self, timeout: float | None = None) -> T:
        """Blocks until it is done; at most `timeout` seconds. For code in threads: sync handlers, and what async ones run there.

        Raises:
            TimeoutError: The time was over.
            RuntimeError: It would block the event loop of the worker, which has to do the work: await it instead.
        """
        if self._future is None:
            return None  # type: ignore[return-value]
        if self._loop is not None and not self._future.done() and _running_loop() is self._loop:
            raise RuntimeError("wait() would block the event loop that has to do the work: await it instead")
        self._looked_at = True
        return self._future.result(timeout)


DONE: Reported[None] = Reported()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class JobPort(Protocol):
    """Where a job's words go: the worker's session, or the recorder of the test kit."""

    @property
    def job(self) -> Job:
        """The job."""
        ...

    def log(self, level: LogLevel, message: str, fields: Mapping[str, str]) -> Reported[None]:
        """Takes a log line."""
        ...

    def progress(self, progress: float | None, status: str | None) -> Reported[None]:
        """Takes progress."""
        ...

    def checkpoint(self, value: Any) -> Reported[None]:
        """Takes a checkpoint."""
        ...

    def enqueue(self, item: EnqueueItem, request_id: str | None) -> Reported[EnqueuedJob]:
        """Stores a job."""
        ...

    def enqueue_with_outcome(self, item: EnqueueItem) -> None:
        """Keeps a job to be stored with the outcome."""
        ...

    def get_job(self, job: int | str) -> Reported[JobResult]:
        """Reads a job."""
        ...

    @property
    def draining(self) -> bool:
        """Whether the worker process is about to end."""
        ...

    @property
    def in_doubt(self) -> bool:
        """Whether the lease could not be renewed lately."""
        ...


class Job:
    """A job in a handler's hands: what is to be done, on whose behalf, and how to tell of it.

    Every method may be called from async and from sync code, and from any thread.
    """

    # Made when they are asked for.
    _options: JobOptions | None = None
    _parents: tuple[ParentResult, ...] | None = None
    _stop: StopSignal | None = None
    _stopped: threading.Event | None = None
    _logger: JobLogger | None = None

    def __init__(self, leased: lease_pb2.LeasedJob, port: JobPort, received: float) -> None:
        self._leased = leased
        self._port = port
        self._deadline = received + seconds(leased.timeout)

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.command!r} run {self.run} attempt {self.attempt}>"

    # What is to be done

    @property
    def id(self) -> int:
        """Id of the job. A transient run has none (0)."""
        return self._leased.job_id

    @property
    def ref_id(self) -> str:
        """Ref id of the job."""
        return self._leased.ref_id

    @property
    def command(self) -> str:
        """Name of the command."""
        return self._leased.command

    @property
    def request(self) -> Any:
        """The request, decoded from JSON; bytes when bytes were sent; None for nothing.

        Raises:
            UnreadableRequestError: It is not the JSON it is said to be.
        """
        return read_request(self._leased)

    @property
    def request_payload(self) -> Payload | None:
        """The request as it was stored."""
        return read_payload(self._leased.request)

    @property
    def options(self) -> JobOptions:
        """Options with their defaults filled in: tag, args, queue, priority and so on."""
        if self._options is None:
            self._options = read(JobOptions, self._leased.options)
        return self._options

    @property
    def args(self) -> Mapping[str, str]:
        """Free arguments beside the request."""
        return dict(self._leased.options.args)

    @property
    def run(self) -> int:
        """Run of the job, from 1; a requeue starts a new one."""
        return self._leased.run

    @property
    def attempt(self) -> int:
        """Number of this attempt in the run, from 1."""
        return self._leased.attempt

    @property
    def crashes(self) -> int:
        """How often in this run the worker process went away while the job ran."""
        return self._leased.crashes

    @property
    def last_error(self) -> JobError | None:
        """Error of the attempt before this one."""
        return read(JobError, self._leased.last_error) if self._leased.HasField("last_error") else None

    @property
    def fencing_token(self) -> int:
        """Larger than that of every earlier attempt of the job: store it with what you write, and refuse smaller ones."""
        return self._leased.fencing_token

    @property
    def recurring_task(self) -> str | None:
        """Name of the recurring task that made the job."""
        return self._leased.recurring_task or None

    @property
    def transient(self) -> bool:
        """Whether it is a transient run, never stored."""
        return self._leased.transient

    @property
    def strict(self) -> bool:
        """Whether it stops itself when its lease is in doubt."""
        return self._leased.strict

    @property
    def enqueue_time(self) -> datetime:
        """When the job was stored. For people: never compare it with the local clock."""
        return read_time(self._leased.enqueue_time)

    # Who asked for it, what came before

    @property
    def user_id(self) -> str | None:
        """User on whose behalf it runs."""
        return self._leased.user_id or None

    @property
    def user_claims(self) -> Mapping[str, str]:
        """Claims of that user."""
        return dict(self._leased.user_claims)

    @property
    def parents(self) -> tuple[ParentResult, ...]:
        """The jobs that it depends on, else the one it descends from, with request and result."""
        if self._parents is None:
            self._parents = tuple(read(ParentResult, parent) for parent in self._leased.parents)
        return self._parents

    @property
    def parent(self) -> ParentResult | None:
        """The first of `parents`."""
        return self.parents[0] if self.parents else None

    @property
    def checkpoint(self) -> Any:
        """The checkpoint that an earlier attempt saved, decoded; None when there is none."""
        return decode(self._leased.checkpoint) if self._leased.HasField("checkpoint") else None

    # Telling

    def progress(self, fraction: float | None = None, status: str | None = None) -> Reported[None]:
        """Tells how far the work is. The latest wins; it is stored at most twice a second.

        Args:
            fraction: How much is done, 0 to 1. None: as before.
            status: A line for people, at most 4 KiB. None: as before.
        """
        return self._port.progress(None if fraction is None else min(1.0, max(0.0, fraction)), status)

    def log(self, message: str, *, level: LogLevel = LogLevel.INFO, fields: Mapping[str, object] | None = None) -> Reported[None]:
        """Logs a line, which is stored with the job and shown live.

        Args:
            message: Text; at most 16 KiB with the fields.
            level: Level.
            fields: Structured fields; at most 64.
        """
        return self._port.log(level, message, {name: str(value) for name, value in (fields or {}).items()})

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger of the standard library (below `haulier.job`) whose records are stored with the job."""
        if self._logger is None:
            self._logger = JobLogger(self)
        return self._logger

    def save_checkpoint(self, value: Any) -> Reported[None]:
        """Saves what the next attempt gets as `checkpoint`, should this one not end. None forgets the last one.

        Raises:
            PayloadError: The value has no JSON form or is too large.
        """
        return self._port.checkpoint(value)

    # Making jobs

    def enqueue(
        self,
        command: str | Callable[..., Any] | object,
        request: Any = None,
        options: JobOptions | None = None,
        *,
        request_id: str | None = None,
    ) -> Reported[EnqueuedJob]:
        """Stores a job now, whatever becomes of this one.

        It gets this job as parent, and its user, claims and trace unless its options say otherwise. The outcome of this job
        waits for it, and when it fails and nobody awaited it, this attempt fails.

        With `depends_on=(Dependency(job_id=job.id),)` it becomes runnable only if this job succeeds, else it is cancelled.
        """
        return self._port.enqueue(self._item(command, request, options), request_id)

    def enqueue_with_outcome(
        self, command: str | Callable[..., Any] | object, request: Any = None, options: JobOptions | None = None
    ) -> None:
        """Stores a job in the same transaction as the success of this one: both or none. At most 1,000."""
        self._port.enqueue_with_outcome(self._item(command, request, options))

    def enqueue_api(
        self, api: ApiCall, request: Any = None, options: JobOptions | None = None, *, request_id: str | None = None
    ) -> Reported[EnqueuedJob]:
        """Stores a job that calls an API; otherwise as `enqueue`."""
        return self._port.enqueue(EnqueueItem(api=api, request=request, options=inherit(options, self._heritage())), request_id)

    def get_job(self, job: int | str) -> Reported[JobResult]:
        """Reads a job by id or ref id, such as a parent that was only sent by reference."""
        return self._port.get_job(job)

    @overload
    def parent_result(self, parent_id: int | None = None, *, result_type: type[T]) -> Reported[T]: ...

    @overload
    def parent_result(self, parent_id: int | None = None, *, result_type: None = None) -> Reported[Any]: ...

    def parent_result(self, parent_id: int | None = None, *, result_type: type[Any] | None = None) -> Reported[Any]:
        """Result of a parent; asks the server for it when it was too large to be sent along.

        Args:
            parent_id: Which of `parents`, or any other job. Default: the first of `parents`.
            result_type: What the result is read as. Default: the JSON value.

        Raises:
            InvalidArgumentError: The job has no parent.
            JobFailedError: The parent did not end well, so that it has no result.
            UnreadableRequestError: The result does not have the form of `result_type`.
        """
        if parent_id is None:
            if self.parent is None:
                raise InvalidArgumentError("the job has no parent", operation="parent_result")
            parent_id = self.parent.job_id
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        sent = next((one for one in self.parents if one.job_id == parent_id and not one.by_reference), None)
        if sent is not None:
            _answer(answer, lambda: _sent_result(sent, result_type))
            return Reported(answer)
        asked = self.get_job(parent_id)
        if asked._future is not None:  # noqa: SLF001
            asked._future.add_done_callback(  # noqa: SLF001
                lambda done: _answer(answer, lambda: result_of(done.result(), result_type))
            )
        return Reported(answer, asked._loop)  # noqa: SLF001

    # Stopping

    @property
    def stop(self) -> StopSignal | None:
        """The stop signal, if there was one. An async handler also gets `asyncio.CancelledError`."""
        return self._stop

    @property
    def stopped(self) -> bool:
        """Whether the handler is to stop. Sync handlers look at it, or call `raise_if_stopped` or `sleep`."""
        return self._stop is not None

    def raise_if_stopped(self) -> None:
        """Does nothing until the handler is to stop.

        Raises:
            Cancelled: It is to stop; let it pass.
        """
        if self._stop is not None:
            raise Cancelled(self._stop.reason or f"stopped: {self._stop.kind}")

    def sleep(self, seconds: float) -> None:
        """Sleeps in a sync handler, and ends early with `Cancelled` when it is to stop. Async handlers use `asyncio.sleep`."""
        with _event_lock:
            if self._stopped is None:
                self._stopped = threading.Event()
                if self._stop is not None:
                    self._stopped.set()
        self._stopped.wait(seconds)
        self.raise_if_stopped()

    @property
    def draining(self) -> bool:
        """Whether the worker process is about to end: a good moment to save a checkpoint and return or go on quickly."""
        return self._port.draining

    @property
    def in_doubt(self) -> bool:
        """Whether the lease could not be renewed lately, so that another attempt may begin elsewhere."""
        return self._port.in_doubt

    @property
    def time_left(self) -> timedelta:
        """What is left of the timeout; zero when it is over."""
        return timedelta(seconds=self._seconds_left())

    # Inside

    def _seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _signal(self, signal: StopSignal) -> None:
        with _event_lock:
            self._stop = signal
            if self._stopped is not None:
                self._stopped.set()

    def _item(self, command: object, request: Any, options: JobOptions | None) -> EnqueueItem:
        from ._command import command_name

        name, request = command_name(command, request)
        return EnqueueItem(command=name, request=request, options=inherit(options, self._heritage()))

    def _heritage(self) -> dict[str, Any]:
        options = self._leased.options
        return {
            "parent_id": self.id,
            "user_id": self._leased.user_id,
            "user_claims": self.user_claims,
            "traceparent": options.traceparent,
            "tracestate": options.tracestate,
        }


_event_lock = threading.Lock()


def read_request(leased: lease_pb2.LeasedJob) -> Any:
    """The request of a job, decoded.

    Raises:
        UnreadableRequestError: It is not the JSON it is said to be.
    """
    try:
        return decode(leased.request)
    except ValueError as error:
        raise UnreadableRequestError(f"request: is not JSON: {error}") from error


def _answer(future: concurrent.futures.Future[Any], ask: Callable[[], Any]) -> None:
    try:
        future.set_result(ask())
    except Exception as error:
        future.set_exception(error)


def _sent_result(parent: ParentResult, kind: type[Any] | None) -> Any:
    if not parent.state.settled or parent.state in (JobState.FAILED, JobState.CANCELLED):
        code = parent.error.code if parent.error else ""
        message = parent.error.message if parent.error else f"the parent {parent.job_id} is {parent.state} and has no result"
        raise JobFailedError(message, error_code=code, operation="parent_result")
    return read_result(parent.result, kind)


def with_parents(job: Job, parents: tuple[ParentResult, ...]) -> Job:
    """The job with these parents, for the test kit."""
    job._parents = tuple(dataclasses.replace(parent) for parent in parents)  # noqa: SLF001
    return job
