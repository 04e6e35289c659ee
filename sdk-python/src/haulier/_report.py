"""The report stream: everything that a worker process says of the jobs it holds, said again until it is stored.

What is to be told lives here over breaks of the stream and over sessions; the stream only carries it. Handlers call from
their own threads; all state is touched in the worker's event loop alone.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import functools
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import grpc
import grpc.aio

from . import _limits as limits
from ._attempt import unstorable
from ._bell import Bell, Door
from ._errors import AbortedError, Cancelled
from ._held import COMPLETED, Line, completed_bytes
from ._methods import REPORT_JOBS
from ._transport import Complaints, Connection, Stream
from .v1 import job_pb2, log_pb2, payload_pb2, report_pb2
from .v1 import worker_service_pb2 as pb

if TYPE_CHECKING:
    from ._attempt import Attempt

_log = logging.getLogger("haulier")

End = tuple["Attempt", "report_pb2.OutcomeReport | None"]
"""An attempt whose handler has ended, and what came of it; None: nothing is to be told."""


class ReportListener(Protocol):
    """Who acts on what the server says."""

    def fill_loops(self, heartbeat: report_pb2.Heartbeat) -> None:
        """Writes the state of the claim loops, and remembers what it told."""
        ...

    def beat_acknowledged(self, sent: float, lease_time: float) -> None:
        """A heartbeat that was sent then was taken."""
        ...

    def directed(self, directive: report_pb2.Directive) -> None:
        """The server wants something."""
        ...

    def lease_lost(self, attempt: Attempt, reason: str) -> None:
        """A lease is no longer held."""
        ...

    def outcomes_moved(self) -> None:
        """An outcome was acknowledged: there is room for another."""
        ...

    def session_lost(self) -> None:
        """The session is over."""
        ...


class Reports:
    """What is to be told, and the stream that tells it."""

    def __init__(self, connection: Connection, listener: ReportListener, *bells: Bell) -> None:
        self._connection = connection
        self._listener = listener
        self._door: Door | None = None
        self._inbox: collections.deque[Callable[[], None]] = collections.deque()
        self._inbox_woken = False
        self._held: dict[str, Attempt] = {}
        # What is ready to be sent, in order of readiness.
        self._logs: dict[str, Attempt] = {}
        self._checkpoints: dict[str, Attempt] = {}
        self._progress: dict[str, Attempt] = {}
        self._outcomes: dict[str, Attempt] = {}
        self._received: list[tuple[int, int, Callable[[], None]]] = []
        self._outcome_count = 0
        self._settled = False
        self._wake = Bell()
        self._bells = (self._wake, *bells)
        """What other threads ring, by their actions."""
        self._session_id = ""
        self._initial_credit = limits.LOG_CREDIT_DEFAULT
        self._credit = 0
        self._beats = itertools.count(1)
        self._beat_due = False
        self._beats_sent: dict[int, float] = {}
        self._stream: Stream | None = None
        self._first = True
        self._complaints = Complaints()
        self._idle = asyncio.Event()
        self._idle.set()

    # From any thread

    def post(self, action: Callable[[], None]) -> None:
        """Runs an action in the event loop, in order; many actions need one wake-up."""
        self._inbox.append(action)
        if not self._inbox_woken:
            self._inbox_woken = True
            door = self._door
            if door is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                    door.knock()

    def spare_beat(self) -> pb.ReportJobsRequest:
        """A heartbeat without an inventory, for a stream of its own."""
        message = pb.ReportJobsRequest(session_id=self._session_id)
        message.heartbeat.beat = next(self._beats)
        return message

    def log(self, attempt: Attempt, entry: report_pb2.LogEntry, room: int, logged: float) -> None:
        """Adds a log line."""
        self.post(functools.partial(self._add_line, attempt, Line(entry, room, logged)))

    def progress(self, attempt: Attempt, progress: float | None, status: str | None) -> None:
        """Sets progress."""
        self.post(functools.partial(self._set_progress, attempt.lease, progress, status))

    def checkpoint(self, attempt: Attempt, payload: payload_pb2.Payload, future: concurrent.futures.Future[None]) -> None:
        """Sets the checkpoint."""
        self.post(functools.partial(self._set_checkpoint, attempt.lease, payload, future))

    # In the event loop

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Says which loop the session runs in."""
        self._door = Door(loop, self._take_inbox)
        if self._inbox:
            loop.call_soon(self._take_inbox)

    def detach(self) -> None:
        """The session's loop is about to end."""
        if self._door is not None:
            self._door.close()

    def take_posted(self, *more: Callable[[], None]) -> None:
        """Does what was posted until now, and more. Who waits for it goes on at once, when all of it is done."""
        self._inbox.extend(more)
        for bell in self._bells:
            bell.hold()
        try:
            while self._inbox:
                self._inbox.popleft()()
        finally:
            for bell in self._bells:
                bell.release()

    @property
    def held_count(self) -> int:
        """Leases in the inventory."""
        return len(self._held)

    @property
    def outcome_count(self) -> int:
        """Outcomes that are not acknowledged."""
        return self._outcome_count

    def begin_session(self, session_id: str, log_credit_bytes: int) -> None:
        """Starts with a new session; outcomes of the one before are still told."""
        self._session_id = session_id
        self._initial_credit = log_credit_bytes or limits.LOG_CREDIT_DEFAULT
        self._beats = itertools.count(1)
        self._beats_sent.clear()
        self._beat_due = True
        received, self._received = self._received, []  # of the session before: nothing to this one
        for _, _, told in received:
            told()

    def hold(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Adds leases to the inventory. Gives those that were not there already, of an answer that is repeated."""
        add = self._held.setdefault
        return [attempt for attempt in attempts if add(attempt.lease, attempt) is attempt]

    def attempt(self, lease: str) -> Attempt | None:
        """The attempt of a lease that is held."""
        return self._held.get(lease)

    def attempts(self) -> list[Attempt]:
        """Everything held."""
        return list(self._held.values())

    def attempts_since(self, received: float) -> list[Attempt]:
        """What is held and was received after that time on the monotonic clock."""
        return list(itertools.takewhile(lambda attempt: attempt.received > received, reversed(self._held.values())))

    def received(self, claim_loop: int, sequence: int, told: Callable[[], None]) -> None:
        """Says that a claim's answer arrived; calls `told` when it was sent."""
        self._received.append((claim_loop, sequence, told))
        self._wake.set()

    def beat(self) -> None:
        """Sends a heartbeat."""
        self._beat_due = True
        self._wake.set()

    def silent_for(self) -> float:
        """Seconds since the oldest heartbeat on this stream that was not acknowledged."""
        return time.monotonic() - min(self._beats_sent.values()) if self._beats_sent else 0.0

    def finish(self, ends: Iterable[End]) -> int:
        """Ends attempts with their outcomes; without one a lease is dropped. How many of them were still waited for."""
        waited_for = 0
        for attempt, outcome in ends:
            if attempt.ended:
                continue
            attempt.end()
            waited_for += 1
            lease = attempt.lease
            if attempt.outcome is not None or lease not in self._held:
                continue
            if attempt.log_dropped and not attempt.lost and (dropped := attempt.take_dropped()) is not None:
                attempt.begin_to_tell()
                attempt.lines.append(Line(dropped, 0, time.monotonic()))
                self._logs[lease] = attempt
            if outcome is None or (attempt.lost and outcome.WhichOneof("outcome") != "complete"):
                self._forget(attempt)
                continue
            attempt.outcome = outcome
            self._outcome_count += 1
            if attempt.told:
                self._progress.pop(lease, None)
            self._outcomes[lease] = attempt
        if self._outcomes:
            self._idle.clear()
            self._wake.set()
        return waited_for

    def lose_leases(self) -> list[Attempt]:
        """The session is over: keeps the outcomes that are ready and drops everything else. Gives what still runs."""
        self._logs.clear()
        self._checkpoints.clear()
        self._progress.clear()
        running: list[Attempt] = []
        for held in list(self._held.values()):
            if held.lost:
                continue
            held.lost = True
            self._fail_checkpoints(held)
            if held.outcome is None:
                self._clear_lines(held)
                running.append(held)
            else:
                self._unsend(held)
        self._wake.set()
        return running

    async def idle(self, timeout: float) -> bool:
        """Waits until every outcome is acknowledged; `timeout` in seconds."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    def break_stream(self) -> None:
        """Ends the stream, so that a new one is opened."""
        if self._stream is not None:
            self._stream.cancel()

    async def run(self) -> None:
        """Keeps a stream open until it is cancelled."""
        delay = limits.RETRY_DELAY_FIRST
        while True:
            began = time.monotonic()
            why = await self._run_stream()
            if time.monotonic() - began > limits.RECONNECT_DELAY_MAX:
                delay = limits.RETRY_DELAY_FIRST
            _log.debug("the report stream ended, opening another: %s", why)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, limits.RECONNECT_DELAY_MAX)

    async def _run_stream(self) -> str:
        self._begin_stream()
        stream = self._stream = self._connection.open_stream(REPORT_JOBS)
        writer = asyncio.ensure_future(self._write(stream))
        reader = asyncio.ensure_future(self._read(stream))
        try:
            done, _ = await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.cancelled():  # by `break_stream`: the call tells it so
                    return "no heartbeat was acknowledged on it"
                error = task.exception()
                if isinstance(error, grpc.aio.AioRpcError):
                    typed = self._connection.error("report_jobs", error)
                    if isinstance(typed, AbortedError) and typed.reason == "SESSION_LOST":
                        self._listener.session_lost()
                    if self._complaints.due(typed):
                        _log.warning("the report stream broke, opening another: %s", typed)
                    return str(typed)
                # The writer may meet the end of the stream before the reader does.
                if error is not None and not isinstance(error, asyncio.InvalidStateError | grpc.aio.UsageError):
                    raise error
            return "the server ended it"
        finally:
            self._stream = None
            stream.cancel()
            for task in (writer, reader):
                task.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)

    def _begin_stream(self) -> None:
        self._first = True
        self._credit = self._initial_credit
        self._beat_due = True
        self._beats_sent.clear()
        for held in self._held.values():
            self._unsend(held)
        self._wake.set()

    def _unsend(self, held: Attempt) -> None:
        """Everything of a lease that is not stored is to be sent again."""
        held.sent = held.stored
        if held.lines:
            self._logs[held.lease] = held
        held.checkpoint_sent = False
        if held.checkpoint_payload is not None:
            self._checkpoints[held.lease] = held
        if held.outcome is not None:
            self._outcomes[held.lease] = held

    async def _write(self, stream: Stream) -> None:
        while True:
            await self._wake.wait()  # what happens in one turn of the loop goes into one message
            self._wake.clear()
            while True:
                received = self._received[:256]
                message = self._next_message(received)
                if message is None:
                    break
                await stream.write(message)
                if received:
                    del self._received[: len(received)]
                    for _, _, told in received:
                        told()

    def _next_message(self, received: list[tuple[int, int, Callable[[], None]]]) -> pb.ReportJobsRequest | None:
        """What there is to be told and fits into one message; None when that is nothing."""
        if not (received or self._first or self._beat_due or self._outcomes or self._logs or self._checkpoints or self._progress):
            return None
        message = pb.ReportJobsRequest()
        room = limits.REPORT_BYTES_MAX
        for claim_loop, sequence, _ in received:
            message.received.add(loop=claim_loop, sequence=sequence)
        if self._first:
            message.session_id = self._session_id
        if self._beat_due:
            room -= self._add_heartbeat(message)
        # Outcomes come before logs of other jobs: they free the lease.
        if self._outcomes:
            if self._logs:
                room = self._add_logs(message, self._outcomes, room)
            room = self._add_outcomes(message, room)
        if self._logs:
            room = self._add_logs(message, self._logs, room)
        if self._checkpoints:
            room = self._add_checkpoints(message, room)
        if self._progress:
            self._add_progress(message, room)
        self._first = False
        return message if message.ByteSize() else None

    def _add_heartbeat(self, message: pb.ReportJobsRequest) -> int:
        self._beat_due = False
        heartbeat = message.heartbeat
        heartbeat.beat = next(self._beats)
        self._beats_sent[heartbeat.beat] = time.monotonic()
        self._listener.fill_loops(heartbeat)
        heartbeat.leases.extend(held.lease for held in self._held.values() if not held.lost)
        return heartbeat.ByteSize()

    def _add_logs(self, message: pb.ReportJobsRequest, ready: dict[str, Attempt], room: int) -> int:
        for lease, held in list(ready.items()):
            if not held.lines:
                if ready is self._logs:
                    del ready[lease]
                continue
            while held.sent < held.last:
                if len(message.logs) >= limits.REPORT_ITEMS_MAX:
                    return room
                report = self._log_report(held, room)
                if report is None:
                    break  # no credit, or no room: another lease may have a shorter line
                size = report.ByteSize()
                self._credit -= size
                room -= size
                message.logs.append(report)
            else:
                self._logs.pop(lease, None)
        return room

    def _log_report(self, held: Attempt, room: int) -> report_pb2.LogReport | None:
        credit = self._credit if self._credit < self._initial_credit else max(self._credit, limits.LOG_LINE_BYTES_MAX * 2)
        most = min(room, limits.LOG_BYTES_PER_REPORT_MAX, credit) - len(held.lease) - 24
        report = report_pb2.LogReport(lease=held.lease, from_sequence=held.sent)
        now = time.monotonic()
        index = held.sent - held.stored
        size = 0
        while index < len(held.lines) and len(report.lines) < limits.LOG_LINES_PER_REPORT_MAX:
            line = held.lines[index]
            size += line.size
            if size > most:
                break
            ago = now - line.logged
            if ago > 0.001:
                line.entry.time_ago.FromNanoseconds(int(ago * 1e9))
            report.lines.append(line.entry)
            index += 1
        if not report.lines:
            return None
        held.sent = held.stored + index
        return report

    def _add_outcomes(self, message: pb.ReportJobsRequest, room: int) -> int:
        ready = self._outcomes
        most = limits.OUTCOMES_UNACKNOWLEDGED_MAX - (self._outcome_count - len(ready))
        completed_size = limits.LEASE_BYTES_MAX + 32
        sent: list[str] = []
        completed: list[str] = []
        for lease, held in ready.items():
            alike = held.outcome is COMPLETED and not held.told
            if held.outcome is None or (held.lines and held.sent < held.last):
                continue
            size = completed_size if alike else held.outcome_size
            if size > room or len(sent) >= most:
                break
            room -= size
            sent.append(lease)
            if alike:
                completed.append(lease)
                continue
            report = message.outcomes.add()
            report.CopyFrom(held.outcome)
            report.lease = lease
            if held.told:
                report.log_sequence = held.last
        if completed:
            message.MergeFromString(completed_bytes(completed))
        if len(sent) == len(ready):
            ready.clear()
        else:
            for lease in sent:
                del ready[lease]
        return room

    def _add_checkpoints(self, message: pb.ReportJobsRequest, room: int) -> int:
        for lease in list(self._checkpoints):
            held = self._checkpoints[lease]
            report = report_pb2.CheckpointReport(lease=lease, sequence=held.checkpoint_sequence, payload=held.checkpoint_payload)
            size = report.ByteSize()
            # A checkpoint may be larger than the whole credit: then it goes alone.
            if size > room or (size > self._credit and self._credit < self._initial_credit):
                continue
            message.checkpoints.append(report)
            self._credit -= size
            room -= size
            held.checkpoint_sent = True
            del self._checkpoints[lease]
        return room

    def _add_progress(self, message: pb.ReportJobsRequest, room: int) -> None:
        now = time.monotonic()
        for lease in list(self._progress)[: limits.REPORT_ITEMS_MAX]:
            held = self._progress[lease]
            report = report_pb2.ProgressReport(lease=lease, progress=held.fraction, status=held.status)
            room -= report.ByteSize()
            if room < 0:
                return
            message.progress.append(report)
            held.fraction = held.status = None
            held.progress_sent = now
            del self._progress[lease]

    async def _read(self, stream: Stream) -> None:
        async for response in stream:
            self._take(response)

    def _take(self, response: pb.ReportJobsResponse) -> None:
        self._complaints.worked()
        if response.HasField("heartbeat"):
            sent = self._beats_sent.pop(response.heartbeat.beat, None)
            for beat in [beat for beat in self._beats_sent if beat < response.heartbeat.beat]:
                del self._beats_sent[beat]
            if sent is not None:
                self._listener.beat_acknowledged(sent, response.heartbeat.lease_time.ToTimedelta().total_seconds())
        held_by_lease = self._held
        for ack in response.acks:
            held = held_by_lease.get(ack.lease)
            if held is None:
                continue
            if ack.outcome_stored and held.outcome is not None and not held.told:
                self._forget(held)  # nearly all end so
            else:
                self._take_ack(held, ack)
        if self._settled:
            self._outcomes_settled()
        if response.log_credit_bytes:
            self._credit += response.log_credit_bytes
            if self._logs or self._checkpoints or self._outcomes:
                self._wake.set()
        for directive in response.directives:
            self.directed(directive)
        for error in response.errors:
            if error.code == report_pb2.REPORT_ERROR_CODE_SESSION_LOST:
                self._listener.session_lost()
            else:
                _log.warning("the server refused a part of a report: %s %s", error.field, error.message)
                self._later(self._resend_all)

    def directed(self, directive: report_pb2.Directive) -> None:
        """The server wants something."""
        if directive.WhichOneof("kind") != "lease_lost":
            self._listener.directed(directive)
            return
        self._lose(directive.lease_lost.lease, directive.lease_lost.reason)
        if self._settled:
            self._outcomes_settled()

    def _take_ack(self, held: Attempt, ack: report_pb2.ReportAck) -> None:
        if held.told:
            if ack.log_sequence > held.stored:
                self._lines_stored(held, ack.log_sequence)
            if ack.checkpoint_sequence > held.checkpoint_stored:
                self._checkpoint_stored(held, ack.checkpoint_sequence)
        if ack.outcome_stored:
            if held.outcome is None:
                # Decided without us: an earlier report of ours, or the end of a grace.
                self._listener.lease_lost(held, "the attempt has an outcome already")
            self._forget(held)
        elif ack.HasField("error"):
            self._take_refusal(held, ack)

    def _take_refusal(self, held: Attempt, ack: report_pb2.ReportAck) -> None:
        error = ack.error
        if error.code == report_pb2.REPORT_ERROR_CODE_LEASE_LOST:
            self._lose(held.lease, error.message or "the lease was lost")
        elif error.code == report_pb2.REPORT_ERROR_CODE_SESSION_LOST:
            self._listener.session_lost()
        elif error.code == report_pb2.REPORT_ERROR_CODE_LOG_GAP:
            self._mend_gap(held, ack.log_sequence)
        elif error.code == report_pb2.REPORT_ERROR_CODE_INVALID:
            self._replace_invalid(held, error)
        else:
            self._later(functools.partial(self._resend, held.lease))

    def _mend_gap(self, held: Attempt, stored: int) -> None:
        """Sends again from what is stored; what is no longer here is told as missing."""
        held.begin_to_tell()
        if stored < held.stored:
            missing = report_pb2.LogEntry(level=log_pb2.LOG_LEVEL_WARN, message="(this line was lost)")
            held.lines.extendleft(Line(missing, 0, time.monotonic()) for _ in range(held.stored - stored))
            held.stored = stored
        held.sent = held.stored
        if held.lines:
            self._logs[held.lease] = held
        if held.outcome is not None:
            self._outcomes[held.lease] = held
        self._wake.set()

    def _replace_invalid(self, held: Attempt, error: report_pb2.ReportError) -> None:
        """A repeat would be refused too: something else is said in its place."""
        _log.warning("the server refused a report of %s: %s %s", held.name, error.field, error.message)
        part = error.field.partition("[")[0]
        if held.outcome is not None and held.lease not in self._outcomes and part in ("", "outcomes"):
            ended = held.outcome.WhichOneof("outcome")
            if ended == "complete":
                outcome = unstorable(f"the server refused the result: {error.field} {error.message}")
            elif ended == "fail" and held.outcome.fail.code != "OUTCOME_REFUSED":
                outcome = report_pb2.OutcomeReport()
                outcome.fail.code = "OUTCOME_REFUSED"
                outcome.fail.message = limits.clip(error.message, limits.ERROR_MESSAGE_BYTES_MAX)
                outcome.fail.reason = job_pb2.FAILURE_REASON_HANDLER
            else:
                self._forget(held)
                return
            held.outcome = outcome
            self._outcomes[held.lease] = held
        elif part == "checkpoints" or (part == "" and held.checkpoint_sent):
            held.checkpoint_payload = None
            self._fail_checkpoints(held, error.message)
        elif part != "progress":
            for line in held.lines:
                line.entry.Clear()
                line.entry.message = "(the server refused this line)"
            held.sent = held.stored
            if held.lines:
                self._logs[held.lease] = held
        self._wake.set()

    def _lose(self, lease: str, reason: str) -> None:
        held = self._held.get(lease)
        if held is not None:
            self._forget(held)
            self._listener.lease_lost(held, reason)

    def _later(self, action: Callable[[], None]) -> None:
        delay = limits.REPORT_RETRY_DELAY * random.uniform(1.0, 2.0)
        asyncio.get_running_loop().call_later(delay, action)

    def _resend(self, lease: str) -> None:
        held = self._held.get(lease)
        if held is not None:
            self._unsend(held)
            self._wake.set()

    def _resend_all(self) -> None:
        for held in self._held.values():
            self._unsend(held)
        self._wake.set()

    def _forget(self, held: Attempt) -> None:
        lease = held.lease
        if self._held.pop(lease, None) is None:
            return
        if held.told:
            self._forget_told(held)
        if held.outcome is not None:
            if self._outcomes:
                self._outcomes.pop(lease, None)
            self._outcome_count -= 1
            self._settled = True

    def _forget_told(self, held: Attempt) -> None:
        for ready in (self._logs, self._checkpoints, self._progress):
            ready.pop(held.lease, None)
        if held.progress_timer is not None:
            held.progress_timer.cancel()
        self._fail_checkpoints(held)
        self._clear_lines(held)

    def _outcomes_settled(self) -> None:
        """There is room for others."""
        self._settled = False
        if not self._outcome_count:
            self._idle.set()
        elif self._outcomes:
            self._wake.set()
        self._listener.outcomes_moved()

    def _take_inbox(self) -> None:
        self._inbox_woken = False
        self.take_posted()

    def _add_line(self, attempt: Attempt, line: Line) -> None:
        held = self._held.get(attempt.lease)
        if held is None or held.lost or held.outcome is not None:
            attempt.logs_stored(line.room)  # nobody takes it any more; who waits for room must not wait for ever
            return
        held.begin_to_tell()
        held.lines.append(line)
        self._logs[attempt.lease] = held
        self._wake.set()

    def _lines_stored(self, held: Attempt, stored: int) -> None:
        while held.stored < stored and held.lines:
            held.logs_stored(held.lines.popleft().room)
            held.stored += 1
        held.stored = max(held.stored, stored)
        held.sent = max(held.sent, held.stored)

    def _clear_lines(self, held: Attempt) -> None:
        for line in held.lines:
            held.logs_stored(line.room)
        held.lines.clear()
        held.sent = held.stored

    def _set_progress(self, lease: str, progress: float | None, status: str | None) -> None:
        held = self._held.get(lease)
        if held is None or held.lost or held.outcome is not None:
            return
        held.begin_to_tell()
        if progress is not None:
            held.fraction = progress
        if status is not None:
            held.status = status
        wait = held.progress_sent + limits.PROGRESS_INTERVAL - time.monotonic()
        if wait <= 0:
            self._progress_ready(held)
        elif held.progress_timer is None:
            held.progress_timer = asyncio.get_running_loop().call_later(wait, self._progress_ready, held)

    def _progress_ready(self, held: Attempt) -> None:
        held.progress_timer = None
        if held.lease in self._held and not held.lost and held.outcome is None:
            self._progress[held.lease] = held
            self._wake.set()

    def _set_checkpoint(self, lease: str, payload: payload_pb2.Payload, future: concurrent.futures.Future[None]) -> None:
        held = self._held.get(lease)
        if held is None or held.lost or held.outcome is not None:
            future.set_exception(Cancelled("the lease is no longer held"))
            return
        held.begin_to_tell()
        held.checkpoint_sequence += 1
        held.checkpoint_payload = payload
        held.checkpoint_sent = False
        held.checkpoint_future += ((held.checkpoint_sequence, future),)
        self._checkpoints[lease] = held
        self._wake.set()

    def _checkpoint_stored(self, held: Attempt, sequence: int) -> None:
        held.checkpoint_stored = sequence
        if sequence >= held.checkpoint_sequence:
            held.checkpoint_payload = None
            self._checkpoints.pop(held.lease, None)
        waiting, held.checkpoint_future = held.checkpoint_future, ()
        for wanted, future in waiting:
            if wanted <= sequence:
                if not future.done():
                    future.set_result(None)
            else:
                held.checkpoint_future += ((wanted, future),)

    def _fail_checkpoints(self, held: Attempt, why: str = "the lease is no longer held") -> None:
        waiting, held.checkpoint_future = held.checkpoint_future, ()
        for _, future in waiting:
            if not future.done():
                future.set_exception(Cancelled(f"the checkpoint was not stored: {why}"))


def lease_seconds(response: pb.RegisterWorkerResponse) -> tuple[float, float, float]:
    """Lease time, heartbeat interval and longest wait of a registration, in seconds."""
    lease = response.lease_time.ToTimedelta().total_seconds() or 30.0
    beat = response.heartbeat_interval.ToTimedelta().total_seconds() or lease / 3
    return lease, beat, response.max_wait.ToTimedelta().total_seconds() or 30.0
