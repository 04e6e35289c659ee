"""The test kit: runs a handler with a fake job, without a server, and shows what it reported.

Example:
    >>> async def resize(job: Job, image: str, width: int) -> str:
    ...     await job.progress(0.5, "half way")
    ...     return f"{image}@{width}"
    >>> run = asyncio.run(run_handler(resize, {"image": "cat.png", "width": 200}))
    >>> run.result, run.progress
    ('cat.png@200', [(0.5, 'half way')])
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, TypeVar

from ._client import EnqueueItem, write_item
from ._command import definition_of
from ._convert import duration, write
from ._errors import Cancelled, NonRetryable, NotFoundError, RetryAfter, UnreadableRequestError
from ._job import DONE, Job, Reported, StopKind, StopSignal, with_parents
from ._log import _current
from ._options import JobOptions
from ._payload import decode, encode
from ._records import EnqueuedJob, JobError, JobResult, JobState, LogLevel, ParentResult
from .v1 import enqueue_pb2, lease_pb2

__all__ = ["FakeJob", "FakeLog", "HandlerRun", "run_handler", "run_handler_sync"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeLog:
    """A log line that a handler wrote."""

    level: LogLevel
    message: str
    fields: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class _Recorder:
    job: FakeJob
    jobs: Mapping[int | str, JobResult]
    logs: list[FakeLog] = field(default_factory=list[FakeLog])
    progress_reports: list[tuple[float | None, str | None]] = field(default_factory=list[tuple["float | None", "str | None"]])
    checkpoints: list[Any] = field(default_factory=list[Any])
    enqueued: list[EnqueueItem] = field(default_factory=list[EnqueueItem])
    enqueued_with_outcome: list[EnqueueItem] = field(default_factory=list[EnqueueItem])

    draining: bool = False
    in_doubt: bool = False

    def log(self, level: LogLevel, message: str, fields: Mapping[str, str]) -> Reported[None]:
        self.logs.append(FakeLog(level=level, message=message, fields=fields))
        return DONE

    def progress(self, progress: float | None, status: str | None) -> Reported[None]:
        self.progress_reports.append((progress, status))
        return DONE

    def checkpoint(self, value: Any) -> Reported[None]:
        self.checkpoints.append(decode(encode(value, "save_checkpoint")))
        return DONE

    def enqueue(self, item: EnqueueItem, request_id: str | None) -> Reported[EnqueuedJob]:
        write_item(item, enqueue_pb2.EnqueueItem(), "enqueue")
        self.enqueued.append(item)
        number = len(self.enqueued)
        ref_id = (item.options.ref_id if item.options else None) or f"fake-{number}"
        return _done(EnqueuedJob(id=1_000_000 + number, ref_id=ref_id, created=True, state=JobState.QUEUED))

    def enqueue_with_outcome(self, item: EnqueueItem) -> None:
        write_item(item, enqueue_pb2.EnqueueItem(), "enqueue_with_outcome")
        self.enqueued_with_outcome.append(item)

    def get_job(self, job: int | str) -> Reported[JobResult]:
        found = self.jobs.get(job)
        future = concurrent.futures.Future[JobResult]()
        if found is None:
            future.set_exception(NotFoundError(f"the fake has no job {job!r}; give it in `jobs`", operation="get_job"))
        else:
            future.set_result(found)
        return Reported(future)


class FakeJob(Job):
    """A job for tests: everything a handler may look at can be given, everything it reports is kept.

    Args:
        request: Request, as it would be enqueued.
        command: Name of the command.
        id: Id of the job.
        attempt: Number of the attempt.
        run: Run of the job.
        crashes: How often the worker process went away.
        options: Options of the job: user, args, tag and so on.
        parents: What it depends on.
        checkpoint: What an earlier attempt saved.
        fencing_token: Fencing token.
        timeout: What is left of the timeout.
        last_error: Error of the attempt before.
        strict: Whether it is strict.
        transient: Whether it is a transient run.
        recurring_task: Name of the task that made it.
        jobs: What `get_job` finds.
    """

    def __init__(
        self,
        request: Any = None,
        *,
        command: str = "test",
        id: int = 1,
        attempt: int = 1,
        run: int = 1,
        crashes: int = 0,
        options: JobOptions | None = None,
        parents: Sequence[ParentResult] = (),
        checkpoint: Any = None,
        fencing_token: int = 1,
        timeout: timedelta = timedelta(minutes=10),
        last_error: JobError | None = None,
        strict: bool = False,
        transient: bool = False,
        recurring_task: str | None = None,
        jobs: Mapping[int | str, JobResult] | None = None,
    ) -> None:
        leased = lease_pb2.LeasedJob(
            lease="fake",
            fencing_token=fencing_token,
            job_id=0 if transient else id,
            ref_id=(options.ref_id if options else None) or f"fake-{id}",
            command=command,
            request=encode(request, "request"),
            run=run,
            attempt=attempt,
            crashes=crashes,
            timeout=duration(timeout),
            recurring_task=recurring_task or "",
            strict=strict,
            transient=transient,
        )
        leased.enqueue_time.FromDatetime(datetime.now(timezone.utc))
        if options is not None:
            write(options, leased.options, "options")
            leased.user_id = options.user_id or ""
            leased.user_claims.update(options.user_claims)
        if last_error is not None:
            write(last_error, leased.last_error, "last_error")
        if checkpoint is not None:
            leased.checkpoint.CopyFrom(encode(checkpoint, "checkpoint"))
        self._recorder = _Recorder(job=self, jobs=jobs or {})
        super().__init__(leased, self._recorder, time.monotonic())
        with_parents(self, tuple(parents))
        self._stop_listeners: list[Callable[[], object]] = []

    @property
    def reported_progress(self) -> list[tuple[float | None, str | None]]:
        """Fractions and status lines, in order."""
        return self._recorder.progress_reports

    @property
    def logs(self) -> list[FakeLog]:
        """Log lines, in order."""
        return self._recorder.logs

    @property
    def checkpoints(self) -> list[Any]:
        """Checkpoints, in order."""
        return self._recorder.checkpoints

    @property
    def enqueued(self) -> list[EnqueueItem]:
        """Jobs enqueued at once."""
        return self._recorder.enqueued

    @property
    def enqueued_with_outcome(self) -> list[EnqueueItem]:
        """Jobs to be stored with the success of this one."""
        return self._recorder.enqueued_with_outcome

    def stop_now(self, kind: StopKind = StopKind.CANCEL, reason: str = "") -> None:
        """Gives the handler a stop signal, as the server or the worker would. From any thread."""
        self._signal(StopSignal(kind=kind, reason=reason))
        for listener in self._stop_listeners:
            listener()


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerRun:
    """What came of a run of a handler."""

    job: FakeJob
    outcome: Literal["completed", "failed", "cancelled", "released"]
    """What the attempt would come to."""
    result: Any = None
    """The result as the waiting client would see it, through JSON."""
    error: BaseException | None = None
    """What the handler raised."""
    retryable: bool = True
    """Whether a failure would be retried by policy."""
    retry_delay: timedelta | None = None
    """When to try again at the earliest, if the handler said so."""
    duration: timedelta = timedelta(0)

    @property
    def progress(self) -> list[tuple[float | None, str | None]]:
        """Fractions and status lines, in order."""
        return self.job.reported_progress

    @property
    def logs(self) -> list[str]:
        """Texts of the log lines, in order."""
        return [line.message for line in self.job.logs]


async def run_handler(handler: Callable[..., Any], request: Any = None, *, job: FakeJob | None = None, **fake: Any) -> HandlerRun:
    """Runs a handler as a worker would, with its request through JSON and its arguments checked.

    Args:
        handler: The function, declared or not.
        request: Request, as it would be enqueued.
        job: The job to run it with. Default: a fresh one.
        fake: Arguments of `FakeJob`, when no job is given.
    """
    definition = definition_of(handler)
    fake.setdefault("command", definition.name)
    job = job or FakeJob(request, **fake)
    began = time.monotonic()
    binding = True
    try:
        arguments, keywords = definition.bind(job, job.request)
        binding = False
        if definition.is_async:
            result = await _stoppable(job, handler, arguments, keywords)
        else:
            context = contextvars.copy_context()
            context.run(_current.set, job._recorder)  # noqa: SLF001
            result = await asyncio.to_thread(context.run, lambda: handler(*arguments, **keywords))
            if inspect.isawaitable(result):
                result = await result
        value = decode(encode(result, "result"))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, asyncio.CancelledError) and not job.stopped):
            raise
        return _failed(job, error, binding, timedelta(seconds=time.monotonic() - began))
    return HandlerRun(job=job, outcome="completed", result=value, duration=timedelta(seconds=time.monotonic() - began))


def run_handler_sync(handler: Callable[..., Any], request: Any = None, *, job: FakeJob | None = None, **fake: Any) -> HandlerRun:
    """As `run_handler`, for tests without asyncio."""
    return asyncio.run(run_handler(handler, request, job=job, **fake))


async def _stoppable(job: FakeJob, handler: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    async def run() -> Any:
        _current.set(job._recorder)  # noqa: SLF001
        return await handler(*arguments, **keywords)

    loop = asyncio.get_running_loop()
    task = loop.create_task(run())
    job._stop_listeners.append(lambda: loop.call_soon_threadsafe(task.cancel))  # noqa: SLF001
    if job.stopped:
        task.cancel()
    try:
        return await task
    finally:
        task.cancel()


def _failed(job: FakeJob, error: BaseException, binding: bool, took: timedelta) -> HandlerRun:
    if isinstance(error, Cancelled | asyncio.CancelledError):
        kind = job.stop.kind if job.stop else StopKind.CANCEL
        if kind is StopKind.CANCEL:
            return HandlerRun(job=job, outcome="cancelled", error=error, duration=took)
        if kind is not StopKind.TIMEOUT:
            return HandlerRun(job=job, outcome="released", error=error, duration=took)
    return HandlerRun(
        job=job,
        outcome="failed",
        error=error,
        retryable=not (isinstance(error, NonRetryable) or (binding and isinstance(error, UnreadableRequestError))),
        retry_delay=error.delay if isinstance(error, RetryAfter) else None,
        duration=took,
    )


def _done(value: T) -> Reported[T]:
    future = concurrent.futures.Future[T]()
    future.set_result(value)
    return Reported(future)
