"""A worker process's session: register, claim, beat, and act on what the server says.

It lives in the event loop of the async handlers: a job goes through no other thread on its way. While a handler blocks that
loop, a guard in a thread of its own beats in its place.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import functools
import logging
import math
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from . import _limits as limits
from . import _methods as methods
from ._attempt import Attempt, outcome_of_stop
from ._bell import Bell
from ._client import Client, EnqueueItem
from ._command import CommandDefinition
from ._convert import seconds
from ._errors import (
    AbortedError,
    HaulierError,
    InvalidArgumentError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnimplementedError,
)
from ._guard import Guard
from ._job import StopKind, StopSignal
from ._records import EnqueuedJob, JobResult
from ._report import End, Reports, lease_seconds
from ._transport import Complaints, Connection
from .v1 import lease_pb2, report_pb2
from .v1 import worker_service_pb2 as pb

T = TypeVar("T")

_log = logging.getLogger("haulier")

_FATAL = (InvalidArgumentError, UnimplementedError, PermissionDeniedError, UnauthenticatedError)


class Runner(Protocol):
    """Who runs the handlers. Called in the event loop."""

    def start(self, attempts: Sequence[Attempt]) -> None:
        """Starts handlers; each ends with `Session.ended`."""
        ...

    def cancel(self, attempt: Attempt) -> None:
        """A stop signal was given: an async handler is to be cancelled."""
        ...


@dataclass(slots=True)
class ClaimLoop:
    """The one claim loop: its sequences, as protocol.md wants them."""

    sequence: int = 1
    """Of the next call."""
    ack_sequence: int = 0
    received: int = 0
    sent: int = 0
    sent_open: bool = False
    told_closed: int = 0
    """Highest `sent` that a heartbeat told to be no longer open: it must not be repeated, its jobs may have gone back."""

    def begin(self) -> tuple[int, int]:
        """The sequences of the next call."""
        if self.told_closed >= self.sequence:
            self.sequence = self.told_closed + 1
        self.sent = self.sequence
        self.sent_open = True
        return self.sequence, self.ack_sequence

    def answered(self, sequence: int, brought_jobs: bool) -> None:
        """The answer arrived."""
        self.sent_open = False
        self.received = sequence
        if brought_jobs:
            self.ack_sequence = sequence
        self.sequence = sequence + 1

    def unanswered(self) -> None:
        """No answer will come."""
        self.sent_open = False

    def tell(self, state: report_pb2.LoopState) -> None:
        """Writes the state into a heartbeat."""
        state.received = self.received
        state.sent = self.sent
        state.sent_open = self.sent_open
        if self.sent > self.received and not self.sent_open:
            self.told_closed = self.sent


class Session:
    """The sessions of one worker process, one after the other."""

    def __init__(
        self,
        connection: Connection,
        registration: pb.RegisterWorkerRequest,
        definitions: dict[str, CommandDefinition],
        runner: Runner,
        *,
        slots: int,
        drain_timeout: timedelta,
    ) -> None:
        self._connection = connection
        self._client = Client.over(connection)
        self._registration = registration
        self._definitions = definitions
        self._runner = runner
        self._slots = slots
        self._drain_timeout = drain_timeout.total_seconds()
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop, once it runs."""
        self._session_id = ""
        self._claim = ClaimLoop()
        self._busy = 0
        self._starting = collections.deque[tuple[float, list[Attempt]]]()
        """What waits for its `received` to be sent, and since when."""
        self._late_start: asyncio.TimerHandle | None = None
        self._young_timer: asyncio.TimerHandle | None = None
        self._watched = 0.0
        """The timeouts of attempts that were received until then have been looked at."""
        self._timeout_timer: asyncio.TimerHandle | None = None
        self._timeouts_at = 0.0
        self._moved = Bell()
        """Slots, outcomes or doubt changed: look again whether to claim."""
        self.reports = Reports(connection, self, self._moved)
        self._guard = Guard(self, connection)
        self._quiet = asyncio.Event()
        """No handler runs."""
        self._quiet.set()
        self._lost = asyncio.Event()
        self._stopping = asyncio.Event()
        self._abort = asyncio.Event()
        self._lease = 30.0
        self._beat_interval = 10.0
        self._max_wait = 30.0
        self._renewed = 0.0
        """When the last acknowledged heartbeat was sent."""
        self._acknowledged = asyncio.Event()
        self._registered_once = False
        self.in_doubt = False
        self.draining = False
        self.registered = concurrent.futures.Future[None]()
        """Done when it has first registered."""

    # From any thread

    def drain(self, grace: timedelta | None = None) -> None:
        """Claims nothing more, lets handlers end, then ends the session."""
        self._call(functools.partial(self._drain, grace))

    def abort(self) -> None:
        """Stops all handlers now and gives their jobs back."""
        self._call(self._abort_now)

    def ended_in_thread(self, attempt: Attempt, outcome: report_pb2.OutcomeReport | None) -> None:
        """A handler that ran in a thread has ended."""
        self.reports.post(functools.partial(self._ended_all, ((attempt, outcome),)))

    def enqueue(self, item: EnqueueItem, request_id: str | None) -> concurrent.futures.Future[EnqueuedJob]:
        """Stores a job."""
        if item.api is not None:
            return self.submit(self._client.enqueue_api(item.api, item.request, item.options, request_id=request_id))
        return self.submit(self._client.enqueue(item.command, item.request, item.options, request_id=request_id))

    def get_job(self, job: int | str) -> concurrent.futures.Future[JobResult]:
        """Reads a job."""
        return self.submit(self._client.get(job))

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Runs a coroutine in the event loop."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def _call(self, action: Callable[[], None]) -> None:
        self.reports.post(action)

    # In the event loop

    def ended(self, ends: Sequence[End]) -> None:
        """Handlers have ended; those that end together are told together, after what they have told before."""
        self.reports.take_posted(functools.partial(self._ended_all, ends))

    # The life of the process

    async def main(self) -> None:
        """Registers, and anew whenever the session is lost, until it is drained."""
        self.loop = asyncio.get_running_loop()
        self.reports.attach(self.loop)
        try:
            while not self._stopping.is_set():
                if await self._register():
                    await self._one_session()
        finally:
            for attempt in self.reports.attempts():
                self._stop(attempt, StopSignal(kind=StopKind.LEASE_LOST, reason="the worker process has ended"))
            if not self.registered.done():
                self.registered.set_result(None)
            self._guard.end()
            await self._connection.close()
            self.reports.detach()

    async def _register(self) -> bool:
        delay = 0.1
        warned = False
        while not self._stopping.is_set():
            sent = time.monotonic()
            try:
                answer = await self._connection.call_once(methods.REGISTER_WORKER, self._registration, "register_worker", 10.0)
            except HaulierError as error:
                if isinstance(error, _FATAL) and not self._registered_once:
                    raise
                if not warned or delay >= 2.0:
                    _log.warning("the worker process could not register, it goes on trying: %s", error)
                warned = True
                pause = max(error.retry_after.total_seconds() if error.retry_after else 0.0, delay)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause * random.uniform(0.5, 1.0))
                delay = min(delay * 2, limits.RECONNECT_DELAY_MAX)
                continue
            self._session_id = answer.session_id
            self._lease, self._beat_interval, self._max_wait = lease_seconds(answer)
            self._claim = ClaimLoop()
            self._renewed = sent
            self.in_doubt = False
            self._lost.clear()
            self.reports.begin_session(answer.session_id, answer.log_credit_bytes)
            self._registered_once = True
            if not self.registered.done():
                self.registered.set_result(None)
            _log.info("registered worker process %r with %s", self._registration.name, self._connection.address)
            return True
        return False

    async def _one_session(self) -> None:
        reports = asyncio.ensure_future(self.reports.run())
        beats = asyncio.ensure_future(self._beats())
        fence = asyncio.ensure_future(self._fence())
        claims = asyncio.ensure_future(self._claims())
        lost = asyncio.ensure_future(self._lost.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        tasks: list[asyncio.Future[Any]] = [reports, beats, fence, claims, lost, stopping]
        try:
            self._guard.alive(self._beat_interval)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await _cancel(claims)
            self._claim.unanswered()
            for task in done:
                if task not in (lost, stopping) and not task.cancelled() and (error := task.exception()) is not None:
                    raise error
            if not self._lost.is_set() and not self._stopping.is_set():
                raise RuntimeError("a part of the session ended by itself")  # never go on without heartbeats or fence
            if self._stopping.is_set() and not self._lost.is_set():
                self.reports.beat()  # says that no claim is open, so that what never arrived goes back at once
                await self._drained(lost)
            if self._lost.is_set():
                await self._give_up_session()
            elif self._stopping.is_set():
                await self._unregister()
        finally:
            self._guard.rest()
            await _cancel(*tasks)

    async def _give_up_session(self) -> None:
        """Sends the outcomes there are, drops the rest."""
        running = self.reports.lose_leases()
        _log.warning(
            "the session was lost; %d handlers are stopped, %d outcomes are sent",
            len(running),
            self.reports.outcome_count,
        )
        for attempt in running:
            self._stop(attempt, StopSignal(kind=StopKind.LEASE_LOST, reason="the session was lost"))
        await self.reports.idle(2.0)

    async def _drained(self, lost: asyncio.Future[Any]) -> None:
        """Lets handlers end, stops those that take too long, and gives back what is left."""
        grace = self._drain_timeout
        quiet = asyncio.ensure_future(self._quiet.wait())
        abort = asyncio.ensure_future(self._abort.wait())
        try:
            await asyncio.wait((quiet, abort, lost), timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            if not quiet.done() and not lost.done():
                for attempt in self.reports.attempts():
                    self._stop(attempt, StopSignal(kind=StopKind.DRAIN, reason="the worker process is stopping"))
                await asyncio.wait((quiet, lost), timeout=limits.DRAIN_STOP_GRACE, return_when=asyncio.FIRST_COMPLETED)
            for attempt in self.reports.attempts():
                if not attempt.ended:
                    _log.warning("the handler of %s did not stop; it is given back", attempt.name)
                    stop = StopSignal(kind=StopKind.DRAIN, reason="the worker process is stopping")
                    self._ended_all([(attempt, outcome_of_stop(attempt.stop or stop))])
            flushed = asyncio.ensure_future(self.reports.idle(limits.FLUSH_TIMEOUT))
            await asyncio.wait((flushed, lost), return_when=asyncio.FIRST_COMPLETED)
            await _cancel(flushed)
        finally:
            await _cancel(quiet, abort)

    async def _unregister(self) -> None:
        request = pb.UnregisterWorkerRequest(session_id=self._session_id, reason="the worker process is stopping")
        try:
            await self._connection.call_once(methods.UNREGISTER_WORKER, request, "unregister_worker", 5.0)
        except HaulierError as error:
            _log.warning("the worker process could not unregister, its session ends by itself: %s", error)

    # Claims

    async def _claims(self) -> None:
        delay = limits.RETRY_DELAY_FIRST
        complaints = Complaints()
        request = pb.ClaimJobRequest(session_id=self._session_id)
        while True:
            free = await self._free_slots()
            request.sequence, request.ack_sequence = sequence, _ = self._claim.begin()
            request.max_jobs = min(free, limits.CLAIM_JOBS_MAX)
            wait = self._max_wait * random.uniform(0.8, 1.0)
            request.wait.seconds, request.wait.nanos = int(wait), int(wait % 1 * 1e9)
            try:
                answer = await self._connection.call_once(
                    methods.CLAIM_JOB, request, "claim_job", wait + limits.CLAIM_ANSWER_GRACE
                )
            except HaulierError as error:
                self._claim.unanswered()
                if isinstance(error, AbortedError) and error.reason == "SESSION_LOST":
                    self.session_lost()
                    return
                if isinstance(error, AbortedError):
                    # A later claim of this loop is stored, which cannot be ours: begin anew.
                    _log.warning("a claim was refused, registering anew: %s", error)
                    self.session_lost()
                    return
                level = logging.WARNING if complaints.due(error) else logging.DEBUG
                _log.log(level, "a claim was not answered, trying again: %s", error)
                pause = max(error.retry_after.total_seconds() if error.retry_after else 0.0, delay)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                delay = min(delay * 2, limits.RECONNECT_DELAY_MAX)
                continue
            delay = limits.RETRY_DELAY_FIRST
            complaints.worked()
            self._claim.answered(sequence, bool(answer.jobs))
            if answer.jobs:
                self._take(answer, sequence)

    async def _free_slots(self) -> int:
        while True:
            free = min(
                self._slots - self._busy,
                limits.OUTCOMES_UNACKNOWLEDGED_MAX - self.reports.outcome_count,
                limits.LEASES_MAX - self.reports.held_count,
            )
            if free > 0 and not self.in_doubt:
                return free
            self._moved.clear()
            await self._moved.wait()
            if self._busy:
                await asyncio.sleep(limits.CLAIM_LINGER)  # jobs that came together often end together

    def _take(self, answer: pb.ClaimJobResponse, sequence: int) -> None:
        now = time.monotonic()
        find = self._definitions.get
        attempts = self.reports.hold([Attempt(job, find(job.command) or _unserved(job), self, now) for job in answer.jobs])
        self._busy += len(attempts)
        self._quiet.clear()
        # The server hears of the answer's arrival before the first handler starts; a broken stream holds nothing up.
        self._starting.append((now, attempts))
        if self._late_start is None:
            self._late_start = asyncio.get_running_loop().call_later(limits.RECEIVED_WAIT, self._start_late)
        self.reports.received(0, sequence, functools.partial(self._start, attempts))

    def _start_late(self) -> None:
        """Starts handlers that have waited too long for their `received` to be sent."""
        assert self.loop is not None
        self._late_start = None
        latest = time.monotonic() - limits.RECEIVED_WAIT
        for came, attempts in list(self._starting):
            if came > latest:
                self._late_start = self.loop.call_later(came - latest, self._start_late)
                return
            self._start(attempts)

    def _start(self, attempts: list[Attempt]) -> None:
        starting, attempts[:] = attempts[:], []  # once only
        while self._starting and not self._starting[0][1]:
            self._starting.popleft()
        if not starting:
            return
        if self.in_doubt:
            for attempt in starting:
                if attempt.leased.strict:
                    self._stop(attempt, _IN_DOUBT)
        assert self.loop is not None
        if self._young_timer is None:
            self._young_timer = self.loop.call_later(limits.TIMEOUT_WATCH_AFTER, self._watch_young)
        self._runner.start(starting)

    def _watch_young(self) -> None:
        """Most handlers have ended before anyone needs to know their timeouts: only those of the others are looked at."""
        self._young_timer = None
        since, self._watched = self._watched, time.monotonic()
        self._watch_timeouts([attempt for attempt in self.reports.attempts_since(since) if not attempt.ended])

    def _watch_timeouts(self, attempts: Sequence[Attempt]) -> None:
        """Sees to it that `_timeouts` runs when the first of these is over. One timer serves all attempts."""
        assert self.loop is not None
        earliest = min((attempt.deadline for attempt in attempts), default=math.inf)
        if earliest == math.inf:
            return
        if self._timeout_timer is not None:
            if self._timeouts_at <= earliest:
                return
            self._timeout_timer.cancel()
        self._timeouts_at = earliest
        self._timeout_timer = self.loop.call_later(max(0.0, earliest - time.monotonic()), self._timeouts)

    def _timeouts(self) -> None:
        """Stops what has used up its timeout."""
        self._timeout_timer = None
        now = time.monotonic()
        left: list[Attempt] = []
        for attempt in self.reports.attempts():
            if attempt.ended:
                continue
            if attempt.deadline <= now:
                self._timed_out(attempt)
            else:
                left.append(attempt)
        self._watch_timeouts(left)

    def _ended_all(self, ends: Sequence[End]) -> None:
        self._freed(self.reports.finish(ends))

    def _freed(self, slots: int) -> None:
        self._busy -= slots
        if not self._busy:
            self._quiet.set()
        self._moved.set()

    # Stopping handlers

    def _timed_out(self, attempt: Attempt) -> None:
        reason = f"the timeout of {seconds(attempt.leased.timeout):g} s is over"
        self._stop(attempt, StopSignal(kind=StopKind.TIMEOUT, reason=reason, grace=limits.TIMEOUT_GRACE))

    def _stop(self, attempt: Attempt, signal: StopSignal, first: bool = False) -> None:
        """Acts on a stop signal; `first`: the attempt has it already, and it is its first one."""
        first = attempt.signal(signal) or first
        if attempt.ended or attempt.stop is not signal:
            return
        assert self.loop is not None
        grace = (signal.grace or limits.STOP_GRACE).total_seconds()
        attempt.stop_timers += (self.loop.call_later(grace, self._abandon, attempt, signal),)
        if first:
            self._runner.cancel(attempt)

    def _abandon(self, attempt: Attempt, signal: StopSignal) -> None:
        """The grace is over: the slot is free for another job, whatever the handler still does."""
        if attempt.ended or attempt.stop is not signal:
            return
        _log.error("the handler of %s did not stop within its grace (%s); it is left alone", attempt.name, signal.kind)
        # The server takes a cancelled job by itself; until then the lease stays in the inventory.
        if signal.kind is StopKind.CANCEL:
            attempt.end()
            self._freed(1)
        else:
            self._ended_all([(attempt, outcome_of_stop(signal))])

    # What the server says (ReportListener)

    def fill_loops(self, heartbeat: report_pb2.Heartbeat) -> None:
        """Writes the state of the claim loop."""
        if self._claim.sent:
            self._claim.tell(heartbeat.loops.add(loop=0))

    def beat_acknowledged(self, sent: float, lease_time: float) -> None:
        """The leases hold for a lease time from when that heartbeat was sent."""
        self._renewed = max(self._renewed, sent)
        if lease_time:
            self._lease = lease_time
        if time.monotonic() < self._renewed + self._lease * limits.FENCE_AT:
            if self.in_doubt:
                _log.info("heartbeats are acknowledged again")
            self.in_doubt = False
            self._moved.set()
        self._acknowledged.set()

    def directed(self, directive: report_pb2.Directive) -> None:
        """Acts on a directive."""
        kind = directive.WhichOneof("kind")
        if kind == "cancel":
            attempt = self.reports.attempt(directive.cancel.lease)
            if attempt is not None:
                self._stop(attempt, _cancel_signal(directive.cancel))
        elif kind == "drain":
            grace = directive.drain.grace.ToTimedelta() if directive.drain.HasField("grace") else None
            if not self.draining:
                _log.info("the server asks this worker process to drain: %s", directive.drain.reason)
            self._drain(grace)

    def lease_lost(self, attempt: Attempt, reason: str) -> None:
        """Drops the work on a job."""
        if not attempt.ended:
            _log.warning("the lease of %s was lost: %s", attempt.name, reason)
            self._stop(attempt, StopSignal(kind=StopKind.LEASE_LOST, reason=reason))

    def outcomes_moved(self) -> None:
        """There is room for another outcome."""
        self._moved.set()

    def session_lost(self) -> None:
        """The session is over."""
        self._lost.set()

    # Heartbeats

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(self._beat_interval)
            self._guard.alive(self._beat_interval)
            if self.reports.silent_for() >= max(self._beat_interval * 0.9, limits.STREAM_SILENCE_MIN):
                # The stream looks alive and says nothing: another one may do better.
                self.reports.break_stream()
            self.reports.beat()

    async def _fence(self) -> None:
        """Stops strict jobs when no heartbeat was acknowledged for too long."""
        while True:
            left = self._until_doubt()
            if left > 0:
                await asyncio.sleep(left)
                continue
            if not self.in_doubt:
                self.in_doubt = True
                _log.warning("no heartbeat was acknowledged in time; strict jobs stop, others go on in doubt")
                for attempt in self.reports.attempts():
                    if attempt.leased.strict:
                        self._stop(attempt, _IN_DOUBT)
            self._acknowledged.clear()
            await self._acknowledged.wait()

    def _until_doubt(self) -> float:
        """Seconds until the leases are in doubt."""
        return self._renewed + self._lease * limits.FENCE_AT - time.monotonic()

    # While the event loop is blocked (Guarded): in the guard's threads

    def spare_beat(self) -> pb.ReportJobsRequest:
        """A heartbeat that only renews the leases."""
        return self.reports.spare_beat()

    def heard(self, response: pb.ReportJobsResponse, sent: float) -> None:
        """Renews the leases and gives stop signals at once; the rest waits for the event loop."""
        if sent:
            self._renewed = max(self._renewed, sent)
            lease_time = response.heartbeat.lease_time.ToTimedelta().total_seconds()
            self._call(functools.partial(self.beat_acknowledged, sent, lease_time))
        for directive in response.directives:
            attempt = self.reports.attempt(directive.cancel.lease) if directive.HasField("cancel") else None
            if attempt is None:
                self._call(functools.partial(self.reports.directed, directive))
            else:
                self._stop_blocked(attempt, _cancel_signal(directive.cancel))
        if any(error.code == report_pb2.REPORT_ERROR_CODE_SESSION_LOST for error in response.errors):
            self._call(self.session_lost)

    def fence_blocked(self) -> float:
        """Stops strict jobs when the leases are in doubt, as `_fence` does; seconds until that may be."""
        left = self._until_doubt()
        if left > 0:
            return left
        for attempt in self.reports.attempts():
            if attempt.leased.strict:
                self._stop_blocked(attempt, _IN_DOUBT)
        return self._beat_interval

    def _stop_blocked(self, attempt: Attempt, signal: StopSignal) -> None:
        """A handler in a thread, or the one that blocks the event loop, sees it now; others hear of it when the loop goes on."""
        before = attempt.stop
        first = attempt.signal(signal)
        if attempt.stop is not before:
            self._call(functools.partial(self._stop, attempt, signal, first))

    def _drain(self, grace: timedelta | None) -> None:
        if self.draining:
            return
        self.draining = True
        if grace is not None:
            self._drain_timeout = grace.total_seconds()
        self._stopping.set()

    def _abort_now(self) -> None:
        self._drain(None)
        self._abort.set()


_IN_DOUBT = StopSignal(kind=StopKind.IN_DOUBT, reason="the lease could not be renewed in time")


def _cancel_signal(cancel: report_pb2.CancelDirective) -> StopSignal:
    timeout = cancel.kind == report_pb2.CANCEL_KIND_TIMEOUT
    grace = cancel.grace.ToTimedelta() if cancel.HasField("grace") else None
    return StopSignal(kind=StopKind.TIMEOUT if timeout else StopKind.CANCEL, reason=cancel.reason, grace=grace)


def _bind_unserved(job: Any, request: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    raise RuntimeError("this worker process does not serve the command")


_UNSERVED = CommandDefinition(name="", handler=lambda: None, bind=_bind_unserved, takes_job=False, is_async=False)


def _unserved(leased: lease_pb2.LeasedJob) -> CommandDefinition:
    _log.error("job %d asks for %r, which this worker process does not serve", leased.job_id, leased.command)
    return _UNSERVED


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
