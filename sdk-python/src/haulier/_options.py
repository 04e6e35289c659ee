"""How a job is to be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

__all__ = [
    "Backoff",
    "Callback",
    "Dependency",
    "DependencyCondition",
    "JobOptions",
    "PriorityName",
    "RefIdPolicy",
    "ReplyBody",
    "ReplyMode",
    "RetryPolicy",
    "WorkerOrder",
]


class Word(str, Enum):
    """A word of the contract."""

    def __str__(self) -> str:
        return str(self.value)


class RefIdPolicy(Word):
    """What to do when a ref id is taken."""

    FAIL = "fail"
    """Raise `AlreadyExistsError` with the reason `REF_ID_TAKEN`; its `job_id` is the job that has it."""
    RETURN_EXISTING = "return_existing"
    """Return the job that has it when its content is equal; other content is an error."""


class WorkerOrder(Word):
    """Order of the jobs of a named worker."""

    STRICT = "strict"
    """A job that waits for its retry holds the named worker until it has ended."""
    RELAXED = "relaxed"
    """Others may pass a job that waits for its retry."""


class PriorityName(Word):
    """Five names for priorities."""

    LOW = "low"
    """5."""
    BELOW_NORMAL = "below_normal"
    """10."""
    NORMAL = "normal"
    """15."""
    ABOVE_NORMAL = "above_normal"
    """20."""
    HIGH = "high"
    """25."""


class Backoff(Word):
    """How the wait before a retry grows with the number n of retries, from 1. Never longer than `max_delay`."""

    FIXED = "fixed"
    """Always the first delay."""
    LINEAR = "linear"
    """The first delay times n."""
    EXPONENTIAL = "exponential"
    """The first delay times the factor to the power of n - 1."""
    EXPONENTIAL_JITTER = "exponential_jitter"
    """As `EXPONENTIAL`, then 50 to 100 % of it, drawn evenly."""


class DependencyCondition(Word):
    """How a parent must have ended."""

    SUCCESS = "success"
    """It completed."""
    FINISHED = "finished"
    """It completed, failed or was cancelled."""
    FAILURE = "failure"
    """It failed."""


class ReplyMode(Word):
    """Who acts on a `reply_to`."""

    DELIVER = "deliver"
    """The server delivers the notification: signed, stored, retried."""
    CARRY = "carry"
    """The server delivers nothing; the handler and the callback command get the value."""


class ReplyBody(Word):
    """Body of a notification."""

    RESULT = "result"
    """The result as JSON, or the error object; id, ref id and state are in headers."""
    ENVELOPE = "envelope"
    """An object with id, ref id, state, result and error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and when a failed attempt is repeated. What is not set comes from the profile."""

    profile: str | None = None
    """`default` (2 retries; 5 s, doubling, at most 300 s, jitter), `abp` (60 s, doubling, until 2 days are over) or `none`."""
    retry_limit: int | None = None
    """Most retries after the first attempt: 0 to 1,000."""
    crash_limit: int | None = None
    """Most lost attempts that are forgiven, 0 to 2, counted apart from retries."""
    backoff: Backoff | None = None
    """How waits grow."""
    first_delay: timedelta | None = None
    """Wait before the first retry; at most 30 days."""
    factor: float | None = None
    """What an exponential wait is multiplied with each time: 1 to 100."""
    max_delay: timedelta | None = None
    """Longest wait between two attempts; at most 30 days."""
    give_up_after: timedelta | None = None
    """Time from the first attempt after which the job fails as abandoned; at most 365 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """A job to wait for: exactly one of `job_id`, `ref_id` and `local_key`."""

    job_id: int | None = None
    """Its id."""
    ref_id: str | None = None
    """Its ref id."""
    local_key: str | None = None
    """Its local key, for an item of the same batch."""
    condition: DependencyCondition | None = None
    """How it must have ended; default: `SUCCESS`. When it ends otherwise this job is cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A command that is enqueued when a job has succeeded. It receives the job's result as its request."""

    command: str
    """Name of the command."""
    args: Mapping[str, str] = field(default_factory=dict[str, str])
    """Arguments for it, over those of the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """How a job is to be run. Everything may be left out.

    Example:
        >>> options = JobOptions(delay=timedelta(minutes=5), retry_policy=RetryPolicy(retry_limit=5), tag="nightly")
    """

    ref_id: str | None = None
    """Your own unique id of the job, held as long as the job or its history exists. Default: the server makes one."""
    ref_id_policy: RefIdPolicy | None = None
    """What to do when `ref_id` is taken. Default: `FAIL`."""
    queue: str | None = None
    """Queue the job waits in. Default: `default`."""
    worker: str | None = None
    """Named worker: jobs with the same one run strictly one at a time over all worker processes. None: the one that the
    command declares, if any; empty: none, whatever the command declares."""
    worker_order: WorkerOrder | None = None
    """Order within the named worker. Default: `STRICT`."""
    priority: int | None = None
    """1 to 30, higher first. Default: 15. Not together with `priority_name`."""
    priority_name: PriorityName | None = None
    """Priority by name. Not together with `priority`."""
    run_after: datetime | None = None
    """Never start before this time, which has a time zone; at most 5 years ahead. Not together with `delay`."""
    delay: timedelta | None = None
    """Never start before this long after it was stored. Not together with `run_after`."""
    expire_time: datetime | None = None
    """Cancelled with the reason `expired` when its first attempt has not started by then. Default: never."""
    timeout: timedelta | None = None
    """Longest time of one attempt. Default: 10 minutes; at most 30 days."""
    retry_policy: RetryPolicy | None = None
    """What happens after a failed attempt. Default: 2 retries with exponential backoff and jitter."""
    depends_on: tuple[Dependency, ...] = ()
    """Jobs that must end before this one may start. At most 100."""
    strict: bool | None = None
    """Stop the handler by itself when the worker process cannot renew its lease in time, so that two attempts never
    overlap. Default: false."""
    callback: Callback | None = None
    """A command that receives the result after success, as a job of its own."""
    reply_to: str | None = None
    """Where to notify of the outcome: an optional method and a space, optional credentials before an `@`, then a URL."""
    reply_mode: ReplyMode | None = None
    """Who acts on `reply_to`. Default: `DELIVER`."""
    reply_body: ReplyBody | None = None
    """Body of the notification. Default: `RESULT`."""
    reply_on_success_only: bool | None = None
    """Notify of a success only. Default: false."""
    tag: str | None = None
    """Free label to filter by."""
    batch_id: str | None = None
    """Group of jobs to count and watch together."""
    parent_id: int | None = None
    """Job that this one descends from. Default: the first of `depends_on`. It does not make the job wait."""
    user_id: str | None = None
    """User on whose behalf the job runs."""
    user_claims: Mapping[str, str] = field(default_factory=dict[str, str])
    """Claims of that user."""
    created_by: str | None = None
    """Free text that says who or what made the job."""
    args: Mapping[str, str] = field(default_factory=dict[str, str])
    """Free arguments beside the request, filterable."""
    traceparent: str | None = None
    """W3C `traceparent`. Default: that of the current OpenTelemetry span, if there is one."""
    tracestate: str | None = None
    """W3C `tracestate`. Default: that of the current OpenTelemetry span, if there is one."""
