"""A server in this process that knows the lease protocol and can be cut at every point of it."""

from __future__ import annotations

import asyncio
import collections
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from haulier import _methods as methods
from haulier.v1 import job_pb2, job_service_pb2, lease_pb2, lock_service_pb2, report_pb2
from haulier.v1 import worker_service_pb2 as pb


@dataclass
class FakeJobRow:
    id: int
    command: str
    request: str
    strict: bool = False
    timeout: float | None = None
    lease: str = ""
    session: str = ""
    claim: int = 0
    epoch: int = 0
    attempt: int = 0
    log_sequence: int = 0
    checkpoint_sequence: int = 0
    checkpoint: str = ""
    given_back: int = 0
    outcomes: list[report_pb2.OutcomeReport] = field(default_factory=list)
    outcome_lease: str = ""
    lines: list[str] = field(default_factory=list)
    progress: list[tuple[float, str]] = field(default_factory=list)
    options: Any = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def kind(self) -> str | None:
        return self.outcomes[-1].WhichOneof("outcome") if self.outcomes else None


class FakeServer:
    """Points of a cut: `<call>.before`, `<call>.after`, `report.open`, `report.up.before`, `report.up.after`, `report.down`."""

    def __init__(self) -> None:
        self.rows: dict[int, FakeJobRow] = {}
        self.ready: collections.deque[FakeJobRow] = collections.deque()
        self.sessions: dict[str, dict[str, Any]] = {}
        self.points: collections.Counter[str] = collections.Counter()
        self.cuts: set[tuple[str, int]] = set()
        self.claims: list[tuple[int, int, int]] = []
        self.received: list[int] = []
        self.heartbeats: list[report_pb2.Heartbeat] = []
        self.errors: dict[str, list[tuple[grpc.StatusCode, str, float]]] = collections.defaultdict(list)
        self.calls: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.metadata: list[dict[str, Any]] = []
        self.lease_time = 6.0
        self.beat_interval = 2.0
        self.credit = 1 << 20
        self.answer_beats = True
        self.store_outcomes = True
        self.unregistered: list[str] = []
        self.streams: set[asyncio.Queue[pb.ReportJobsResponse | None]] = set()
        self.watch_script: list[Any] = []
        self.refuse_next_outcome: report_pb2.ReportError | None = None
        self.log_gap_once = False
        self.locks: dict[str, str] = {}
        self.lock_waited = 0.0
        self.lock_delay = 0.0
        self._ids = itertools.count(1)
        self._changed = asyncio.Condition()
        self._server: grpc.aio.Server | None = None
        self.address = ""

    async def start(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> None:
        handlers: dict[str, dict[str, Any]] = collections.defaultdict(dict)
        for method in vars(methods).values():
            if not isinstance(method, methods.Method):
                continue
            own: Any = getattr(self, "_" + method.name, None)
            if method.name == "ReportJobs":
                made = grpc.stream_stream_rpc_method_handler(own, method.request.FromString, method.response.SerializeToString)
            elif method.name in ("WatchJob", "WatchJobs", "ExportHistoryMonth"):
                made = grpc.unary_stream_rpc_method_handler(
                    self._watch, method.request.FromString, method.response.SerializeToString
                )
            else:
                made = grpc.unary_unary_rpc_method_handler(
                    self._unary(method, own), method.request.FromString, method.response.SerializeToString
                )
            handlers[method.service][method.name] = made
        options = [
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 100),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.max_receive_message_length", 20 << 20),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.aio.server(options=options)
        for service, its in handlers.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"haulier.v1.{service}", its),))
        listen = f"127.0.0.1:{port}"
        bound = self._server.add_secure_port(listen, credentials) if credentials else self._server.add_insecure_port(listen)
        self.address = f"127.0.0.1:{bound}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def add(self, command: str, request: str = "null", **more: Any) -> FakeJobRow:
        row = FakeJobRow(id=next(self._ids), command=command, request=request, **more)
        self.rows[row.id] = row
        await self._make_ready(row)
        return row

    async def direct(self, directive: report_pb2.Directive) -> None:
        for stream in self.streams:
            stream.put_nowait(pb.ReportJobsResponse(directives=[directive]))

    async def lose_sessions(self) -> None:
        """Ends every session, as the reaper would; their jobs become ready again."""
        for session in self.sessions.values():
            session["lost"] = True
        for row in self.rows.values():
            if row.lease:
                await self._give_back(row)
        for stream in self.streams:
            error = report_pb2.ReportError(code=report_pb2.REPORT_ERROR_CODE_SESSION_LOST)
            stream.put_nowait(pb.ReportJobsResponse(errors=[error]))

    # Inside

    def _cut(self, point: str) -> bool:
        self.points[point] += 1
        return (point, self.points[point]) in self.cuts

    def _unary(self, method: methods.Method[Any, Any], own: Any) -> Any:
        async def serve(request: Any, context: Any) -> Any:
            self.calls.append((method.name, request))
            self.metadata.append(dict(context.invocation_metadata()))
            if self.errors[method.name]:
                code, reason, delay = self.errors[method.name].pop(0)
                await refuse(context, code, reason, delay)
            if self._cut(f"{method.name}.before"):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "cut before")
            if own is not None:
                answer = await own(request, context)
            elif method.name in self.answers:
                answer = self.answers[method.name]
            else:
                await refuse(context, grpc.StatusCode.UNIMPLEMENTED, "NOT_SUPPORTED")
            if self._cut(f"{method.name}.after"):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "cut after")
            return answer

        return serve

    async def _make_ready(self, row: FakeJobRow) -> None:
        async with self._changed:
            self.ready.append(row)
            self._changed.notify_all()

    async def _give_back(self, row: FakeJobRow) -> None:
        row.given_back += 1
        row.lease = ""
        await self._make_ready(row)

    async def _EnqueueCommand(self, request: Any, context: Any) -> Any:  # noqa: N802
        known = self.answers.setdefault("_requests", {})
        if request.request_id in known:
            return known[request.request_id]
        row = await self.add(request.command, request.request.json or "null")
        row.options = request.options
        answer = job_service_pb2.EnqueueCommandResponse(
            job_id=row.id, ref_id=f"r{row.id}", created=True, state=job_pb2.JOB_STATE_QUEUED
        )
        known[request.request_id] = answer
        return answer

    async def _RegisterWorker(self, request: Any, context: Any) -> Any:  # noqa: N802
        for session in self.sessions.values():
            if session["instance"] == request.instance_id and not session["lost"]:
                session["lost"] = True
                for row in self.rows.values():
                    if row.lease and self.sessions[row.session]["lost"]:
                        await self._give_back(row)
        session_id = f"session-{len(self.sessions) + 1}"
        self.sessions[session_id] = {"instance": request.instance_id, "lost": False, "sequence": 0, "beat": 0}
        answer = pb.RegisterWorkerResponse(session_id=session_id, log_credit_bytes=self.credit)
        answer.lease_time.FromTimedelta(timedelta(seconds=self.lease_time))
        answer.heartbeat_interval.FromTimedelta(timedelta(seconds=self.beat_interval))
        answer.max_wait.FromSeconds(30)
        return answer

    async def _UnregisterWorker(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.unregistered.append(request.session_id)
        self.sessions[request.session_id]["lost"] = True
        return pb.UnregisterWorkerResponse()

    async def _ClaimJob(self, request: pb.ClaimJobRequest, context: Any) -> Any:  # noqa: N802
        session = self.sessions.get(request.session_id)
        if session is None or session["lost"]:
            await refuse(context, grpc.StatusCode.ABORTED, "SESSION_LOST")
        assert session is not None
        self.claims.append((request.sequence, request.ack_sequence, request.max_jobs))
        mine = [row for row in self.rows.values() if row.lease and row.session == request.session_id]
        if request.sequence < session["sequence"]:
            await refuse(context, grpc.StatusCode.ABORTED, "STALE_SEQUENCE")
        if request.sequence == session["sequence"]:
            held = [self._leased(row) for row in mine if row.claim == request.sequence]
            return pb.ClaimJobResponse(jobs=held, sequence=request.sequence)
        for row in mine:
            if row.claim > request.ack_sequence:
                await self._give_back(row)
        wait = request.wait.ToTimedelta().total_seconds()
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: bool(self.ready) or session["lost"]), wait)
            except asyncio.TimeoutError:
                return pb.ClaimJobResponse(sequence=request.sequence)
            if session["lost"]:
                await refuse(context, grpc.StatusCode.ABORTED, "SESSION_LOST")
            jobs: list[lease_pb2.LeasedJob] = []
            session["sequence"] = request.sequence
            while self.ready and len(jobs) < request.max_jobs:
                row = self.ready.popleft()
                row.epoch += 1
                row.attempt += 1
                row.lease = f"lease-{row.id}-{row.epoch}"
                row.session = request.session_id
                row.claim = request.sequence
                row.log_sequence = 0
                row.lines = []
                jobs.append(self._leased(row))
            return pb.ClaimJobResponse(jobs=jobs, sequence=request.sequence)

    def _leased(self, row: FakeJobRow) -> lease_pb2.LeasedJob:
        leased = lease_pb2.LeasedJob(
            lease=row.lease,
            fencing_token=row.epoch,
            job_id=row.id,
            ref_id=f"r{row.id}",
            command=row.command,
            run=1,
            attempt=row.attempt,
            strict=row.strict,
            log_sequence=row.log_sequence,
            checkpoint_sequence=row.checkpoint_sequence,
        )
        leased.request.json = row.request
        leased.timeout.FromTimedelta(timedelta(seconds=row.timeout or 600))
        if row.checkpoint:
            leased.checkpoint.json = row.checkpoint
        return leased

    async def _ReportJobs(  # noqa: N802
        self, requests: AsyncIterator[pb.ReportJobsRequest], context: Any
    ) -> AsyncIterator[pb.ReportJobsResponse]:
        if self._cut("report.open"):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut at open")
        down: asyncio.Queue[pb.ReportJobsResponse | None] = asyncio.Queue()
        self.streams.add(down)

        async def take_all() -> None:
            session_id = ""
            async for message in requests:
                if self._cut("report.up.before"):
                    break
                session_id = message.session_id or session_id
                answer = await self._take(session_id, message)
                if self._cut("report.up.after"):
                    break
                if answer.ByteSize():
                    down.put_nowait(answer)
            down.put_nowait(None)

        taking = asyncio.ensure_future(take_all())
        try:
            while (answer := await down.get()) is not None:
                if self._cut("report.down"):
                    break
                yield answer
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        finally:
            self.streams.discard(down)
            taking.cancel()

    async def _take(self, session_id: str, message: pb.ReportJobsRequest) -> pb.ReportJobsResponse:
        answer = pb.ReportJobsResponse()
        session = self.sessions[session_id]
        leases = {row.lease: row for row in self.rows.values() if row.lease}
        for logs in message.logs:
            ack = answer.acks.add(lease=logs.lease)
            answer.log_credit_bytes += logs.ByteSize()
            row = leases.get(logs.lease)
            if row is None:
                ack.error.code = report_pb2.REPORT_ERROR_CODE_LEASE_LOST
                continue
            if self.log_gap_once or logs.from_sequence > row.log_sequence:
                self.log_gap_once = False
                ack.error.code = report_pb2.REPORT_ERROR_CODE_LOG_GAP
                ack.log_sequence = row.log_sequence
                continue
            fresh = list(logs.lines)[row.log_sequence - logs.from_sequence :]
            row.lines += [line.message for line in fresh]
            row.log_sequence += len(fresh)
            ack.log_sequence = row.log_sequence
        for checkpoint in message.checkpoints:
            ack = answer.acks.add(lease=checkpoint.lease)
            answer.log_credit_bytes += checkpoint.ByteSize()
            row = leases.get(checkpoint.lease)
            if row is None:
                ack.error.code = report_pb2.REPORT_ERROR_CODE_LEASE_LOST
                continue
            if checkpoint.sequence > row.checkpoint_sequence:
                row.checkpoint_sequence = checkpoint.sequence
                row.checkpoint = checkpoint.payload.json
            ack.checkpoint_sequence = row.checkpoint_sequence
        for progress in message.progress:
            if (row := leases.get(progress.lease)) is not None:
                row.progress.append((progress.progress, progress.status))
        self.received += [received.sequence for received in message.received]
        for outcome in message.outcomes:
            await self._end(outcome, leases, answer)
        if message.HasField("heartbeat"):
            await self._beat(session_id, session, message.heartbeat, answer)
        return answer

    async def _end(self, outcome: report_pb2.OutcomeReport, leases: dict[str, FakeJobRow], answer: pb.ReportJobsResponse) -> None:
        if not self.store_outcomes:
            return
        ack = answer.acks.add(lease=outcome.lease)
        if self.refuse_next_outcome is not None:
            ack.error.CopyFrom(self.refuse_next_outcome)
            self.refuse_next_outcome = None
            return
        row = leases.get(outcome.lease)
        if row is None:
            ended = [row for row in self.rows.values() if row.outcome_lease == outcome.lease]
            if ended:
                ack.outcome_stored = True
            else:
                ack.error.code = report_pb2.REPORT_ERROR_CODE_LEASE_LOST
            return
        if outcome.log_sequence > row.log_sequence:
            ack.error.code = report_pb2.REPORT_ERROR_CODE_LOG_GAP
            ack.log_sequence = row.log_sequence
            return
        row.outcomes.append(outcome)
        row.outcome_lease, row.lease = row.lease, ""
        ack.outcome_stored = True
        if outcome.WhichOneof("outcome") == "release":
            await self._make_ready(row)
        row.done.set()

    async def _beat(
        self, session_id: str, session: dict[str, Any], heartbeat: report_pb2.Heartbeat, answer: pb.ReportJobsResponse
    ) -> None:
        self.heartbeats.append(heartbeat)
        if session["lost"]:
            answer.errors.add(code=report_pb2.REPORT_ERROR_CODE_SESSION_LOST)
            return
        if not self.answer_beats or heartbeat.beat <= session["beat"]:
            return
        session["beat"] = heartbeat.beat
        answer.heartbeat.beat = heartbeat.beat
        answer.heartbeat.lease_time.FromTimedelta(timedelta(seconds=self.lease_time))
        state = heartbeat.loops[0] if heartbeat.loops else report_pb2.LoopState()
        for row in self.rows.values():
            if not row.lease or row.session != session_id or row.lease in heartbeat.leases:
                continue
            closed = row.claim == state.sent and not state.sent_open
            if row.claim <= state.received or row.claim < state.sent or closed:
                await self._give_back(row)
        held = {row.lease for row in self.rows.values() if row.lease}
        for lease in heartbeat.leases:
            if lease in held:
                continue
            if any(row.outcome_lease == lease for row in self.rows.values()):
                answer.acks.add(lease=lease, outcome_stored=True)
            else:
                answer.directives.add().lease_lost.lease = lease

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.calls.append(("Watch", type(request).FromString(request.SerializeToString())))
        script = self.watch_script.pop(0) if self.watch_script else []
        for item in script:
            if isinstance(item, grpc.StatusCode):
                await context.abort(item, "cut")
            yield item

    async def _AcquireLock(self, request: Any, context: Any) -> Any:  # noqa: N802
        came = time.monotonic()
        wait = request.wait.ToTimedelta().total_seconds()
        while self.locks.setdefault(request.name, request.owner_id) != request.owner_id:
            if time.monotonic() >= came + wait:
                return lock_service_pb2.AcquireLockResponse(acquired=False)
            await asyncio.sleep(0.01)
        answer = lock_service_pb2.AcquireLockResponse(acquired=True, fencing_token=7)
        await asyncio.sleep(self.lock_delay)
        waited = timedelta(seconds=self.lock_waited + time.monotonic() - came)
        answer.lease_time.FromTimedelta(request.lease_time.ToTimedelta() + waited)
        return answer

    async def _RenewLock(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.locks.get(request.name) != request.owner_id:
            await refuse(context, grpc.StatusCode.ABORTED, "LOCK_LOST")
        return lock_service_pb2.RenewLockResponse(lease_time=request.lease_time)

    async def _ReleaseLock(self, request: Any, context: Any) -> Any:  # noqa: N802
        held = self.locks.get(request.name) == request.owner_id
        if held:
            del self.locks[request.name]
        return lock_service_pb2.ReleaseLockResponse(released=held)


async def refuse(context: Any, code: grpc.StatusCode, reason: str, delay: float = 0.0, **fields: str) -> None:
    """Ends a call with the contract's details."""
    status = status_pb2.Status(code=code.value[0], message=f"refused: {reason}")
    details = [error_details_pb2.ErrorInfo(reason=reason, domain="haulier", metadata={"job_id": "42"})]
    if delay:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(timedelta(seconds=delay))
        details.append(retry)
    if reason == "INVALID_FIELD":
        violation = error_details_pb2.BadRequest.FieldViolation(field="command", description="is empty")
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, status.message)
