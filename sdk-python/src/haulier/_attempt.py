"""One attempt in this process: its stop signal, its buffers, and what its end comes to."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _limits as limits
from ._client import EnqueueItem, write_item
from ._command import CommandDefinition
from ._convert import duration, seconds
from ._errors import Cancelled, NonRetryable, PayloadError, RetryAfter, UnreadableRequestError
from ._held import COMPLETED, Held
from ._job import DONE, Job, Reported, StopKind, StopSignal
from ._payload import encode
from ._records import EnqueuedJob, JobResult, LogLevel
from .v1 import enqueue_pb2, job_pb2, lease_pb2, log_pb2, report_pb2

if TYPE_CHECKING:
    from ._session import Session

_LEVELS = {
    LogLevel.TRACE: log_pb2.LOG_LEVEL_TRACE,
    LogLevel.DEBUG: log_pb2.LOG_LEVEL_DEBUG,
    LogLevel.INFO: log_pb2.LOG_LEVEL_INFO,
    LogLevel.WARN: log_pb2.LOG_LEVEL_WARN,
    LogLevel.ERROR: log_pb2.LOG_LEVEL_ERROR,
}
_RANK = {
    None: 0,
    StopKind.IN_DOUBT: 1,
    StopKind.DRAIN: 1,
    StopKind.TIMEOUT: 2,
    StopKind.CANCEL: 3,
    StopKind.LEASE_LOST: 4,
}

_lock = threading.Lock()


class Attempt(Held):
    """One attempt, shared by the event loop and, for a sync handler, its thread."""

    # Most attempts never need these: they are made on first use.
    stop: StopSignal | None = None
    """The stop signal, if there was one."""
    ended = False
    """The handler has ended, or is no longer waited for."""
    task: asyncio.Task[None] | None = None
    """In which its handler waits, if it does."""
    stop_timers: tuple[asyncio.TimerHandle, ...] = ()
    """Ends of the graces of its stop signals."""
    pending: Sequence[Reported[EnqueuedJob]] = ()
    """Jobs being made; the outcome waits for those that the handler did not wait for."""
    with_outcome: Sequence[enqueue_pb2.EnqueueItem] = ()
    _job: Callable[[], Job | None] = staticmethod(lambda: None)
    """The job, as long as anyone has it."""
    _log_bytes = 0
    log_dropped = 0
    _log_waiters: tuple[concurrent.futures.Future[None], ...] = ()

    def __init__(self, leased: lease_pb2.LeasedJob, definition: CommandDefinition, session: Session, received: float) -> None:
        self.leased = leased
        self.lease = leased.lease
        self.definition = definition
        self.session = session
        self.received = received
        """When the claim was answered, on the monotonic clock: its timeout counts from then."""

    @property
    def job(self) -> Job:
        """The job, for the handler's hands. Made when it is first asked for: many handlers never do."""
        with _lock:
            job = self._job()
            if job is None:
                job = Job(self.leased, self, self.received)
                self._job = weakref.ref(job)  # or each would hold the other until such circles are searched for
                if self.stop is not None:
                    job._signal(self.stop)  # noqa: SLF001
        return job

    @property
    def deadline(self) -> float:
        """When its timeout is over, on the monotonic clock; infinity: never."""
        return self.received + seconds(self.leased.timeout) if self.leased.HasField("timeout") else math.inf

    @property
    def name(self) -> str:
        """The job, for logs."""
        return f"job {self.leased.job_id or self.leased.ref_id} ({self.leased.command})"

    def signal(self, signal: StopSignal) -> bool:
        """Gives a stop signal; a stronger one takes the place of a weaker. Whether it is the first."""
        if self.ended:
            return False
        before = self.stop
        if _RANK[signal.kind] <= _RANK[before.kind if before else None]:
            return False
        with _lock:  # a job that is made meanwhile has it too
            self.stop = signal
            job = self._job()
            if job is not None:
                job._signal(signal)  # noqa: SLF001
        return before is None

    def end(self) -> None:
        """Its handler has ended, or is no longer waited for."""
        self.ended = True
        for timer in self.stop_timers:
            timer.cancel()

    # The port of the job: called from any thread.

    def log(self, level: LogLevel, message: str, fields: Mapping[str, str]) -> Reported[None]:
        """Takes a log line. When too many wait for the server it is dropped, and a later line says so."""
        if self.ended:
            return DONE
        entry = log_entry(level, message, fields)
        size = entry.ByteSize() + 64
        with _lock:
            waiting = DONE
            if self._log_bytes + size > limits.LOG_BUFFER_BYTES_MAX // 2:
                if not self._log_waiters:
                    self._log_waiters = (concurrent.futures.Future(),)
                waiting = Reported(self._log_waiters[0], self.session.loop)
            if self._log_bytes + size > limits.LOG_BUFFER_BYTES_MAX:
                self.log_dropped += 1
                return waiting
            self._log_bytes += size
        dropped = self.take_dropped()
        if dropped is not None:
            self.session.reports.log(self, dropped, 0, time.monotonic())
        self.session.reports.log(self, entry, size, time.monotonic())
        return waiting

    def take_dropped(self) -> report_pb2.LogEntry | None:
        """The line that tells of dropped lines, if there are any."""
        if not self.log_dropped:
            return None
        with _lock:
            dropped, self.log_dropped = self.log_dropped, 0
        text = f"{dropped} log lines were left out: they came faster than the server takes them"
        return log_entry(LogLevel.WARN, text, {})

    def logs_stored(self, size: int) -> None:
        """Makes room for log lines."""
        with _lock:
            self._log_bytes -= size
            if self._log_bytes > limits.LOG_BUFFER_BYTES_MAX // 4 or not self._log_waiters:
                return
            waiters, self._log_waiters = self._log_waiters, ()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def progress(self, progress: float | None, status: str | None) -> Reported[None]:
        """Takes progress; the latest wins."""
        if not self.ended:
            text = None if status is None else limits.clip(status, limits.STATUS_BYTES_MAX)
            self.session.reports.progress(self, progress, text)
        return DONE

    def checkpoint(self, value: Any) -> Reported[None]:
        """Takes a checkpoint."""
        payload = encode(value, "save_checkpoint")
        future: concurrent.futures.Future[None] = concurrent.futures.Future()
        if self.ended:
            future.set_exception(Cancelled("the attempt has ended"))
        else:
            self.session.reports.checkpoint(self, payload, future)
        return Reported(future, self.session.loop)

    def enqueue(self, item: EnqueueItem, request_id: str | None) -> Reported[EnqueuedJob]:
        """Stores a job by the session's connection."""
        made = Reported(self.session.enqueue(item, request_id), self.session.loop)
        with _lock:
            if isinstance(self.pending, list):
                self.pending.append(made)
            else:
                self.pending = [made]
        return made

    def enqueue_with_outcome(self, item: EnqueueItem) -> None:
        """Keeps a job for the outcome."""
        message = enqueue_pb2.EnqueueItem()
        write_item(item, message, "enqueue_with_outcome")
        with _lock:
            if isinstance(self.with_outcome, list):
                self.with_outcome.append(message)
            else:
                self.with_outcome = [message]

    def get_job(self, job: int | str) -> Reported[JobResult]:
        """Reads a job by the session's connection."""
        return Reported(self.session.get_job(job), self.session.loop)

    @property
    def draining(self) -> bool:
        """Whether the worker process is about to end."""
        return self.session.draining

    @property
    def in_doubt(self) -> bool:
        """Whether the lease could not be renewed lately."""
        return self.session.in_doubt


def log_entry(level: LogLevel, message: str, fields: Mapping[str, str]) -> report_pb2.LogEntry:
    """A log line, cut to what the server takes."""
    entry = report_pb2.LogEntry(
        level=_LEVELS.get(level, log_pb2.LOG_LEVEL_INFO),
        message=limits.clip(message, limits.LOG_LINE_BYTES_MAX - 1024 if fields else limits.LOG_LINE_BYTES_MAX),
    )
    room = limits.LOG_LINE_BYTES_MAX - len(entry.message.encode("utf-8", "replace"))
    for name, value in list(fields.items())[: limits.LOG_FIELDS_MAX]:
        size = len(name.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace"))
        if size <= room:
            entry.fields[name] = value
            room -= size
    return entry


def outcome_of_result(attempt: Attempt, result: Any) -> report_pb2.OutcomeReport | None:
    """What a returned value comes to."""
    if result is None and not attempt.with_outcome:
        return COMPLETED
    report = report_pb2.OutcomeReport()
    try:
        report.complete.result.CopyFrom(encode(result, "result"))
    except PayloadError as error:
        return unstorable(str(error))
    if not attempt.with_outcome:
        return report
    report.complete.enqueue.extend(attempt.with_outcome)
    if report.ByteSize() > limits.OUTCOME_BYTES_MAX:
        return unstorable(f"result and jobs to enqueue with it have {report.ByteSize()} bytes, too many for one message")
    return report


def outcome_of_error(attempt: Attempt, error: BaseException, *, binding: bool) -> report_pb2.OutcomeReport | None:
    """What a raised error comes to; None: nothing is to be told."""
    stop = attempt.stop
    report = report_pb2.OutcomeReport()
    if stop is not None and stop.kind is StopKind.LEASE_LOST:
        return None
    if isinstance(error, Cancelled | asyncio.CancelledError):
        if stop is None and isinstance(error, Cancelled):
            report.cancelled.reason = limits.clip(error.message, limits.REASON_BYTES_MAX)
            return report
        if stop is not None:
            return outcome_of_stop(stop)
    fail = report.fail
    fail.code = _code(error)
    fail.message = limits.clip(_text(error), limits.ERROR_MESSAGE_BYTES_MAX)
    fail.stack = _stack(error)
    if binding and isinstance(error, UnreadableRequestError):
        fail.retryable = False
        fail.reason = job_pb2.FAILURE_REASON_UNREADABLE_REQUEST
        fail.code = "UNREADABLE_REQUEST"
    elif isinstance(error, NonRetryable):
        fail.retryable = False
    elif isinstance(error, RetryAfter):
        fail.retry_delay.CopyFrom(duration(error.delay))
    return report


def outcome_of_stop(stop: StopSignal) -> report_pb2.OutcomeReport | None:
    """What obeying a stop signal comes to."""
    report = report_pb2.OutcomeReport()
    if stop.kind is StopKind.CANCEL:
        report.cancelled.SetInParent()
    elif stop.kind is StopKind.TIMEOUT:
        report.fail.code = "TIMEOUT"
        report.fail.message = stop.reason or "the timeout is over"
        report.fail.reason = job_pb2.FAILURE_REASON_TIMEOUT
    elif stop.kind is StopKind.LEASE_LOST:
        return None
    else:
        report.release.reason = limits.clip(stop.reason, limits.REASON_BYTES_MAX)
    return report


def unstorable(why: str) -> report_pb2.OutcomeReport:
    """The end of an attempt whose result cannot be stored."""
    report = report_pb2.OutcomeReport()
    report.fail.code = "UNSTORABLE_RESULT"
    report.fail.message = limits.clip(why, limits.ERROR_MESSAGE_BYTES_MAX)
    report.fail.retryable = False
    report.fail.reason = job_pb2.FAILURE_REASON_UNSTORABLE_RESULT
    return report


def _code(error: BaseException) -> str:
    own = getattr(error, "error_code", None)
    if not isinstance(own, str) or not own:
        named = error
        if isinstance(error, NonRetryable | RetryAfter) and error.__cause__ is not None:
            named = error.__cause__
        own = type(named).__name__
    return own[: limits.ERROR_CODE_CHARS_MAX]


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = ""
    return text.encode("utf-8", "replace").decode() or type(error).__name__


def _stack(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except Exception:
        return ""
    raw = text.encode("utf-8", "replace")
    return raw[-limits.ERROR_STACK_BYTES_MAX :].decode("utf-8", "ignore")
