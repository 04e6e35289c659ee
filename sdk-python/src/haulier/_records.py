"""What the server tells, as frozen dataclasses. Times are aware UTC datetimes; None stands for what is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, ClassVar, Literal

from ._options import JobOptions, Word
from ._payload import Payload

__all__ = [
    "ApiCall",
    "AttemptOutcome",
    "Batch",
    "CancelJobResult",
    "CancelJobsResult",
    "CancelReason",
    "CancelResult",
    "CatchUpPolicy",
    "Command",
    "CommandStats",
    "CompletedJob",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryState",
    "EnqueuedBatch",
    "EnqueuedJob",
    "ExplainCode",
    "Explanation",
    "FailedJob",
    "FailureReason",
    "GapEvent",
    "HistoryMonth",
    "HistoryRecord",
    "HistoryState",
    "HourStats",
    "HttpEndpoint",
    "JobAttempt",
    "JobCounts",
    "JobError",
    "JobFilter",
    "JobResult",
    "JobState",
    "JobSummary",
    "ListOrder",
    "LockInfo",
    "LogEvent",
    "LogLevel",
    "LogLine",
    "NamedWorkerStats",
    "OverlapPolicy",
    "Overview",
    "ParentResult",
    "ProgressEvent",
    "PutRecurringTaskResult",
    "PutResult",
    "Queue",
    "QueuedJob",
    "RateLimit",
    "RecurringTask",
    "RequeueJobResult",
    "RequeueJobsResult",
    "RunCommandResult",
    "Schedule",
    "SchedulePreview",
    "ServedCommand",
    "Server",
    "ServerState",
    "SnapshotEvent",
    "StateEvent",
    "SummaryEvent",
    "SyncedEvent",
    "TriggeredRun",
    "WaitStats",
    "WatchEvent",
    "WatchJobsEvent",
    "WatchUntil",
    "WorkerProcess",
    "WorkerProcessStats",
    "WorkerState",
]


class JobState(Word):
    """State of a job."""

    UNKNOWN = "unknown"
    """One that this version of the SDK does not know."""
    SCHEDULED = "scheduled"
    """Its time has not come."""
    BLOCKED = "blocked"
    """It waits for parents, or for its turn in a named worker."""
    QUEUED = "queued"
    """It could start now."""
    RUNNING = "running"
    """It is leased to a worker process."""
    EXECUTED = "executed"
    """It ended well; its callback or notification is still on its way. The outcome is settled."""
    COMPLETED = "completed"
    """It ended well."""
    FAILED = "failed"
    """It failed for good; `JobError.reason` says why."""
    CANCELLED = "cancelled"
    """It was cancelled; `cancel_reason` says why."""

    @property
    def settled(self) -> bool:
        """Whether the outcome stands: executed, completed, failed or cancelled."""
        return self in (JobState.EXECUTED, JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


class FailureReason(Word):
    """Which rule made an attempt or a job fail."""

    UNKNOWN = "unknown"
    HANDLER = "handler"
    NON_RETRYABLE = "non_retryable"
    TIMEOUT = "timeout"
    POISON = "poison"
    ABANDONED = "abandoned"
    UNREADABLE_REQUEST = "unreadable_request"
    API = "api"
    WORKER_LOST = "worker_lost"
    UNSTORABLE_RESULT = "unstorable_result"


class CancelReason(Word):
    """Why a job was cancelled."""

    UNKNOWN = "unknown"
    CLIENT = "client"
    EXPIRED = "expired"
    PARENT = "parent"
    FORCED = "forced"
    HANDLER = "handler"
    SUPERSEDED = "superseded"


class AttemptOutcome(Word):
    """How an attempt ended."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    RELEASED = "released"
    CANCELLED = "cancelled"
    NOT_RECEIVED = "not_received"


class CancelResult(Word):
    """What a cancel came to."""

    UNKNOWN = "unknown"
    CANCELLED = "cancelled"
    """It waited; it will never start."""
    REQUESTED = "requested"
    """It runs; its worker process is told within one second."""
    ALREADY_FINISHED = "already_finished"
    """It had its outcome before, which stands."""


class ExplainCode(Word):
    """Why a job is not running, or that it is."""

    UNKNOWN = "unknown"
    SCHEDULED = "scheduled"
    BACKOFF = "backoff"
    WAITING_FOR_PARENTS = "waiting_for_parents"
    WORKER_BUSY = "worker_busy"
    QUEUE_PAUSED = "queue_paused"
    CONCURRENCY_LIMIT = "concurrency_limit"
    RATE_LIMIT = "rate_limit"
    COMMAND_NOT_SERVED = "command_not_served"
    QUEUE_NOT_SERVED = "queue_not_served"
    WORKERS_DRAINING = "workers_draining"
    WORKERS_FULL = "workers_full"
    QUARANTINED = "quarantined"
    POOL_OFF = "pool_off"
    ABOUT_TO_START = "about_to_start"
    RUNNING = "running"
    STOPPING = "stopping"
    IN_DOUBT = "in_doubt"
    EXECUTED = "executed"
    FINISHED = "finished"


class LogLevel(Word):
    """Level of a log line."""

    UNKNOWN = "unknown"
    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class DeliveryState(Word):
    """How far a delivery is."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class OverlapPolicy(Word):
    """What to do when a task is due and an earlier run of it has not ended."""

    ALLOW = "allow"
    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    CANCEL_PREVIOUS = "cancel_previous"


class CatchUpPolicy(Word):
    """What to do about due times missed while no server ran."""

    LAST = "last"
    NONE = "none"
    ALL = "all"


class PutResult(Word):
    """What a put came to."""

    UNKNOWN = "unknown"
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


class WorkerState(Word):
    """How a worker process is."""

    UNKNOWN = "unknown"
    ACTIVE = "active"
    DRAINING = "draining"
    LOST = "lost"


class ServerState(Word):
    """How a server is."""

    UNKNOWN = "unknown"
    ACTIVE = "active"
    DRAINING = "draining"
    SILENT = "silent"


class HistoryState(Word):
    """How a month of history is kept."""

    UNKNOWN = "unknown"
    OPEN = "open"
    CLOSED = "closed"
    ARCHIVED = "archived"


class ListOrder(Word):
    """Order of a list of jobs."""

    NEWEST_FIRST = "newest_first"
    OLDEST_FIRST = "oldest_first"


class Keep(Enum):
    """What is left out of an update stays as it is."""

    KEEP = "keep"


class WatchUntil(Word):
    """When a watch ends."""

    OUTCOME = "outcome"
    """When the outcome is settled."""
    NOTIFIED = "notified"
    """When callback and notification have ended too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpEndpoint:
    """An HTTP method and a path below the target's base URL."""

    path: str
    method: str | None = None
    """GET, POST, PUT, PATCH or DELETE. Default: POST."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """An API that the server's own pool calls: exactly one of `grpc_method` and `http`."""

    target: str
    """Name of the target in the server's configuration."""
    grpc_method: str | None = None
    """Full name of a unary gRPC method, as in `shop.v1.OrderService/SendReceipt`."""
    http: HttpEndpoint | None = None
    """An HTTP endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why an attempt or a job did not complete."""

    code: str
    """The handler's own code, the type of its error, or the status of an API call."""
    message: str
    stack: str | None = None
    reason: FailureReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueuedJob:
    """A job that was stored, or found to be there already."""

    id: int
    ref_id: str
    created: bool
    """Whether this call stored it. False: the same request id or ref id had stored it before."""
    state: JobState
    local_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueuedBatch:
    """Jobs that were stored together."""

    batch_id: str
    jobs: tuple[EnqueuedJob, ...]
    """In the order of the items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """What lists and streams show of a job."""

    id: int
    """Grows with time. A transient run has none (0) and is known by its ref id."""
    ref_id: str
    run: int
    """From 1; a requeue starts a new one."""
    state: JobState
    command: str | None = None
    api: ApiCall | None = None
    queue: str = ""
    worker: str | None = None
    """Named worker."""
    priority: int = 15
    tag: str | None = None
    batch_id: str | None = None
    parent_id: int | None = None
    created_by: str | None = None
    enqueued_by: str | None = None
    user_id: str | None = None
    recurring_task: str | None = None
    attempt: int = 0
    crashes: int = 0
    epoch: int = 0
    progress: float | None = None
    """0 to 1, as reported or estimated."""
    progress_estimated: bool = False
    status: str | None = None
    create_time: datetime | None = None
    ready_time: datetime | None = None
    start_time: datetime | None = None
    finish_time: datetime | None = None
    notify_time: datetime | None = None
    error: JobError | None = None
    cancel_requested: bool = False
    cancel_reason: CancelReason | None = None
    cancel_message: str | None = None
    worker_process: str | None = None
    transient: bool = False
    callback_job_id: int | None = None
    callback_error: str | None = None
    notify_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedJob:
    """Full record of a job that waits or runs."""

    request: Payload | None = None
    options: JobOptions = field(default_factory=JobOptions)
    checkpoint: Payload | None = None
    waiting_for: tuple[int, ...] = ()
    cancel_deadline_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedJob:
    """Full record of a job that ended well."""

    request: Payload | None = None
    options: JobOptions = field(default_factory=JobOptions)
    result: Payload | None = None
    checkpoint: Payload | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """Full record of a job that failed or was cancelled."""

    request: Payload | None = None
    options: JobOptions = field(default_factory=JobOptions)
    error: JobError | None = None
    checkpoint: Payload | None = None
    cancel_reason: CancelReason | None = None
    cancel_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentResult:
    """What a child gets of a job that it depends on or descends from."""

    job_id: int
    ref_id: str
    state: JobState
    request: Payload | None = None
    result: Payload | None = None
    error: JobError | None = None
    by_reference: bool = False
    """Whether request and result were too large to be sent along: read them by `Job.get_job`."""
    command: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """A job wherever it now lives: its summary, and exactly one full record."""

    summary: JobSummary
    queued: QueuedJob | None = None
    completed: CompletedJob | None = None
    failed: FailedJob | None = None
    parent: ParentResult | None = None
    payloads_hidden: bool = False
    """Whether request, result and checkpoint were left out, since the caller may not read payloads."""

    @property
    def state(self) -> JobState:
        """State of the job."""
        return self.summary.state

    @property
    def request(self) -> Payload | None:
        """Request of the job."""
        record = self.queued or self.completed or self.failed
        return record.request if record else None

    @property
    def options(self) -> JobOptions:
        """Options of the job with their defaults filled in."""
        record = self.queued or self.completed or self.failed
        return record.options if record else JobOptions()

    @property
    def result(self) -> Any:
        """Result of a job that ended well, decoded; None otherwise."""
        payload = self.completed.result if self.completed else None
        return payload.value if payload else None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs: everything that is set must match."""

    states: tuple[JobState, ...] = ()
    command: str | None = None
    api: str | None = None
    queue: str | None = None
    worker: str | None = None
    priority: int | None = None
    tag: str | None = None
    batch_id: str | None = None
    parent_id: int | None = None
    created_by: str | None = None
    user_id: str | None = None
    args: Mapping[str, str] = field(default_factory=dict[str, str])
    reply_to: str | None = None
    recurring_task: str | None = None
    ref_id_prefix: str | None = None
    create_time_from: datetime | None = None
    create_time_to: datetime | None = None
    error_code: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCounts:
    """How many jobs are in each state."""

    scheduled: int = 0
    blocked: int = 0
    queued: int = 0
    running: int = 0
    executed: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAttempt:
    """One attempt to run a job."""

    run: int
    attempt: int
    epoch: int
    """Fencing token of the attempt."""
    worker_process: str | None = None
    session_id: str | None = None
    start_time: datetime | None = None
    finish_time: datetime | None = None
    outcome: AttemptOutcome = AttemptOutcome.UNKNOWN
    error: JobError | None = None
    retry_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A stored log line of a job."""

    sequence: int
    """Number of the line within its attempt, from 1 without gaps."""
    run: int
    epoch: int
    time: datetime | None
    level: LogLevel
    message: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The jobs that share a batch id."""

    batch_id: str
    counts: JobCounts
    create_time: datetime | None = None
    finish_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJobResult:
    """What a cancel came to."""

    result: CancelResult
    job: JobSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJobsResult:
    """What a cancel by filter came to."""

    matched_count: int
    cancelled_count: int
    requested_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueJobResult:
    """What a requeue came to."""

    job: JobSummary
    created: bool
    """Whether this call started the run. False: a call before it had."""
    dependant_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueJobsResult:
    """What a requeue by filter came to."""

    matched_count: int
    requeued_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommandResult:
    """What a transient run came to so far."""

    ref_id: str
    state: JobState
    result: Payload | None = None
    error: JobError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a job is not running."""

    code: ExplainCode
    explanation: str
    details: Mapping[str, str]
    job: JobSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """One try to deliver a notification."""

    start_time: datetime | None = None
    duration: timedelta | None = None
    http_status: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A notification of a job's outcome."""

    id: int
    job_id: int
    run: int
    method: str
    url: str
    state: DeliveryState
    attempts: tuple[DeliveryAttempt, ...] = ()
    create_time: datetime | None = None
    next_time: datetime | None = None
    finish_time: datetime | None = None
    attempt_count: int = 0


# Events of watches. `resume_token` is what `watch` takes to go on after the event.


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotEvent:
    """The job with its full record: the first event, and the last one, which shows the outcome."""

    kind: ClassVar[Literal["snapshot"]] = "snapshot"
    resume_token: str
    job: JobResult


@dataclass(frozen=True, slots=True, kw_only=True)
class StateEvent:
    """The state or attempt changed."""

    kind: ClassVar[Literal["state"]] = "state"
    resume_token: str
    job: JobSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressEvent:
    """Progress or status changed."""

    kind: ClassVar[Literal["progress"]] = "progress"
    resume_token: str
    run: int
    epoch: int
    progress: float | None = None
    progress_estimated: bool = False
    status: str | None = None
    time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """Log lines, in order."""

    kind: ClassVar[Literal["logs"]] = "logs"
    resume_token: str
    lines: tuple[LogLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GapEvent:
    """Something was left out."""

    kind: ClassVar[Literal["gap"]] = "gap"
    resume_token: str
    run: int
    epoch: int
    from_sequence: int
    to_sequence: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryEvent:
    """A job that matches, as it is now: in the initial set, or after a change."""

    kind: ClassVar[Literal["job"]] = "job"
    resume_token: str
    job: JobSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncedEvent:
    """The initial set is complete; what follows are changes."""

    kind: ClassVar[Literal["synced"]] = "synced"
    resume_token: str
    job_count: int
    truncated: bool


WatchEvent = SnapshotEvent | StateEvent | ProgressEvent | LogEvent | GapEvent
"""What `watch` gives."""
WatchJobsEvent = SummaryEvent | SyncedEvent | GapEvent
"""What `watch_jobs` gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a recurring task is due: exactly one of `cron` and `interval`."""

    cron: str | None = None
    """5 fields, or 6 with seconds first, or a macro such as `@daily`."""
    interval: timedelta | None = None
    time_zone: str | None = None
    """IANA name. Default: `UTC`."""
    seed: str | None = None
    """What `H` in the cron expression is drawn from. Default: the name of the task."""

    @staticmethod
    def every(interval: timedelta) -> Schedule:
        """Again and again, so long after the due time before: 1 s to 5 years."""
        return Schedule(interval=interval)

    @staticmethod
    def every_minute() -> Schedule:
        """At the beginning of each minute."""
        return Schedule(cron="@every_minute")

    @staticmethod
    def hourly() -> Schedule:
        """At the beginning of each hour."""
        return Schedule(cron="@hourly")

    @staticmethod
    def daily(time_zone: str | None = None) -> Schedule:
        """At midnight of the time zone, by its IANA name; default: `UTC`."""
        return Schedule(cron="@daily", time_zone=time_zone)

    @staticmethod
    def weekly(time_zone: str | None = None) -> Schedule:
        """At midnight at the beginning of Sunday."""
        return Schedule(cron="@weekly", time_zone=time_zone)

    @staticmethod
    def monthly(time_zone: str | None = None) -> Schedule:
        """At midnight at the beginning of each month."""
        return Schedule(cron="@monthly", time_zone=time_zone)

    @staticmethod
    def yearly(time_zone: str | None = None) -> Schedule:
        """At midnight at the beginning of each year."""
        return Schedule(cron="@yearly", time_zone=time_zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurringTask:
    """A task that makes a job, or a transient run, again and again. From `id` on the server fills it in."""

    name: str = ""
    """Unique name. Default: that of the command, or of the API's method or path."""
    schedule: Schedule
    command: str | None = None
    api: ApiCall | None = None
    request: Any = None
    """Any value with a JSON form; the server gives it back as a `Payload`."""
    options: JobOptions | None = None
    run_command: bool = False
    overlap_policy: OverlapPolicy | None = None
    catch_up_policy: CatchUpPolicy | None = None
    catch_up_window: timedelta | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    enabled: bool | None = None
    description: str | None = None
    id: int | None = None
    paused: bool = False
    pause_reason: str | None = None
    create_time: datetime | None = None
    update_time: datetime | None = None
    next_time: datetime | None = None
    last_time: datetime | None = None
    last_job_id: int | None = None
    last_ref_id: str | None = None
    last_state: JobState | None = None
    last_error: JobError | None = None
    run_count: int = 0
    skip_count: int = 0
    last_skip_time: datetime | None = None
    last_skip_reason: str | None = None
    upcoming_times: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRecurringTaskResult:
    """What a put came to."""

    task: RecurringTask
    result: PutResult


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggeredRun:
    """A run of a task, made now."""

    job_id: int | None
    """None: a transient run."""
    ref_id: str
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePreview:
    """The next times of a schedule."""

    times: tuple[datetime, ...]
    local_times: tuple[str, ...]
    """The same as local times of the time zone, in RFC 9557 form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """So many starts in so much time, counted over all servers."""

    count: int
    period: timedelta | None = None
    """1 s to 1 day. Default: 1 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue."""

    name: str
    concurrency_limit: int | None = None
    rate_limit: RateLimit | None = None
    paused: bool = False
    pause_reason: str | None = None
    pause_time: datetime | None = None
    counts: JobCounts | None = None
    oldest_ready_time: datetime | None = None
    worker_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LockInfo:
    """A named lock and who holds it."""

    name: str
    owner: str | None = None
    fencing_token: int = 0
    acquire_time: datetime | None = None
    expire_time: datetime | None = None
    acquired_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCommand:
    """A command that a worker process serves."""

    command: str
    worker: str | None = None
    version: str | None = None
    json_schema: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """A program that claims jobs and runs them."""

    name: str
    instance_id: str
    session_id: str
    state: WorkerState
    commands: tuple[ServedCommand, ...] = ()
    queues: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    slots: int = 0
    running_job_ids: tuple[int, ...] = ()
    running_count: int = 0
    start_time: datetime | None = None
    heartbeat_time: datetime | None = None
    lease_time: timedelta | None = None
    completed_count: int = 0
    failed_count: int = 0
    sdk: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command that a worker process serves or a job names."""

    name: str
    worker: str | None = None
    versions: tuple[str, ...] = ()
    json_schema: str | None = None
    worker_processes: tuple[str, ...] = ()
    worker_count: int = 0
    waiting_count: int = 0
    running_count: int = 0
    last_run_time: datetime | None = None
    last_job_id: int | None = None
    mean_duration: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server process."""

    id: str
    name: str
    version: str
    address: str
    state: ServerState
    start_time: datetime | None = None
    heartbeat_time: datetime | None = None
    store: str = ""
    pool_enabled: bool = False
    worker_count: int = 0
    is_self: bool = False
    durable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryMonth:
    """A month of history."""

    month: str
    """As `YYYY-MM` in UTC."""
    state: HistoryState
    completed_count: int = 0
    failed_count: int = 0
    cancelled_count: int = 0
    size_bytes: int = 0
    last_finish_time: datetime | None = None
    live_count: int = 0
    drop_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecord:
    """One record of an exported month: a finished run, one of its attempts or one of its log lines."""

    resume_token: str
    """What `export_history_month` takes to go on after it."""
    job_id: int
    job: JobResult | None = None
    attempt: JobAttempt | None = None
    log_line: LogLine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HourStats:
    """What happened in an hour."""

    start_time: datetime | None = None
    enqueued: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitStats:
    """How long jobs waited from when they could start to when they did."""

    median: timedelta | None = None
    p95: timedelta | None = None
    oldest: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStats:
    """Figures of a command."""

    command: str
    waiting: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    retries: int = 0
    mean_duration: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedWorkerStats:
    """Figures of a named worker."""

    worker: str
    waiting: int = 0
    running_job_id: int | None = None
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcessStats:
    """Figures of a worker process over its session."""

    name: str
    instance_id: str
    running: int = 0
    slots: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Figures for the dashboard, at most 2 s old."""

    time: datetime | None = None
    counts: JobCounts = field(default_factory=JobCounts)
    hours: tuple[HourStats, ...] = ()
    waits: WaitStats | None = None
    commands: tuple[CommandStats, ...] = ()
    named_workers: tuple[NamedWorkerStats, ...] = ()
    worker_processes: tuple[WorkerProcessStats, ...] = ()
    worker_count: int = 0
    slot_count: int = 0
    pending_delivery_count: int = 0
    recurring_task_count: int = 0
    paused_queues: tuple[str, ...] = ()
    server_version: str = ""
