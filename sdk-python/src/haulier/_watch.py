"""Watches: streams that go on after a break where they stopped."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from . import _limits as limits
from ._convert import read, read_time
from ._errors import (
    CallCancelledError,
    DeadlineExceededError,
    HaulierError,
    InternalError,
    ResourceExhaustedError,
    UnavailableError,
)
from ._methods import EXPORT_HISTORY_MONTH, WATCH_JOB, WATCH_JOBS, Method
from ._records import (
    GapEvent,
    HistoryRecord,
    JobResult,
    JobSummary,
    LogEvent,
    LogLine,
    ProgressEvent,
    SnapshotEvent,
    StateEvent,
    SummaryEvent,
    SyncedEvent,
    WatchEvent,
    WatchJobsEvent,
)
from ._transport import Connection
from .v1 import admin_service_pb2
from .v1 import job_service_pb2 as pb

E = TypeVar("E")

_BROKEN = (UnavailableError, ResourceExhaustedError, InternalError, DeadlineExceededError, CallCancelledError)


async def watch_job(connection: Connection, request: pb.WatchJobRequest) -> AsyncIterator[WatchEvent]:
    """Events of one job until its outcome is settled; goes on after every break."""
    last: list[WatchEvent] = []

    def settled() -> bool:
        return bool(last) and isinstance(last[0], SnapshotEvent) and last[0].job.state.settled

    async for message in _resumed(connection, WATCH_JOB, request, "watch", settled):
        event = _job_event(message)
        if event is not None:
            last[:] = [event]
            yield event


async def watch_jobs(connection: Connection, request: pb.WatchJobsRequest) -> AsyncIterator[WatchJobsEvent]:
    """Events of the jobs that match; goes on after every break and never ends."""
    async for message in _resumed(connection, WATCH_JOBS, request, "watch_jobs", lambda: False):
        event = _jobs_event(message)
        if event is not None:
            yield event


async def export_history_month(
    connection: Connection, request: admin_service_pb2.ExportHistoryMonthRequest
) -> AsyncIterator[HistoryRecord]:
    """Records of a month; goes on after every break, until the server ends it."""
    async for message in _resumed(connection, EXPORT_HISTORY_MONTH, request, "export_history_month", lambda: True):
        yield read(HistoryRecord, message)


async def _resumed(
    connection: Connection,
    method: Method[Any, Any],
    request: Any,
    operation: str,
    may_end: Callable[[], bool],
) -> AsyncIterator[Any]:
    delay = limits.RETRY_DELAY_FIRST
    while True:
        retry_after = 0.0
        try:
            async for message in connection.stream(method, request, operation=operation):
                delay = limits.RETRY_DELAY_FIRST
                if message.resume_token:
                    request.resume_token = message.resume_token
                yield message
            if may_end():
                return
        except _BROKEN as error:
            if not _resumable(error):
                raise
            retry_after = error.retry_after.total_seconds() if error.retry_after else 0.0
        await asyncio.sleep(max(retry_after, delay) * random.uniform(0.5, 1.0) + retry_after / 2)
        delay = min(delay * 2, limits.WATCH_RESUME_DELAY_MAX)


def _resumable(error: HaulierError) -> bool:
    # An INTERNAL with a reason is the server's own fault and would come again; without one it is a broken transport.
    return not (isinstance(error, InternalError) and error.reason)


def _job_event(message: pb.WatchJobResponse) -> WatchEvent | None:
    token = message.resume_token
    kind = message.WhichOneof("event")
    if kind == "snapshot":
        return SnapshotEvent(resume_token=token, job=read(JobResult, message.snapshot))
    if kind == "state":
        return StateEvent(resume_token=token, job=read(JobSummary, message.state))
    if kind == "progress":
        progress = message.progress
        return ProgressEvent(
            resume_token=token,
            run=progress.run,
            epoch=progress.epoch,
            progress=progress.progress if progress.HasField("progress") else None,
            progress_estimated=progress.progress_estimated,
            status=progress.status or None,
            time=read_time(progress.time) if progress.HasField("time") else None,
        )
    if kind == "logs":
        return LogEvent(resume_token=token, lines=tuple(read(LogLine, line) for line in message.logs.lines))
    if kind == "gap":
        return _gap(token, message.gap)
    return None


def _jobs_event(message: pb.WatchJobsResponse) -> WatchJobsEvent | None:
    token = message.resume_token
    kind = message.WhichOneof("event")
    if kind == "job":
        return SummaryEvent(resume_token=token, job=read(JobSummary, message.job))
    if kind == "synced":
        return SyncedEvent(resume_token=token, job_count=message.synced.job_count, truncated=message.synced.truncated)
    if kind == "gap":
        return _gap(token, message.gap)
    return None


def _gap(token: str, gap: pb.GapEvent) -> GapEvent:
    return GapEvent(
        resume_token=token,
        run=gap.run,
        epoch=gap.epoch,
        from_sequence=gap.from_sequence,
        to_sequence=gap.to_sequence,
        reason=gap.reason,
    )
