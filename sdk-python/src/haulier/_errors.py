"""What can go wrong, and what a handler may say about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import grpc
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]

if TYPE_CHECKING:
    from ._records import JobAttempt, JobResult

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "CallCancelledError",
    "Cancelled",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "FieldViolation",
    "HaulierError",
    "InternalError",
    "InvalidArgumentError",
    "JobCancelledError",
    "JobFailedError",
    "LockLostError",
    "NonRetryable",
    "NotFoundError",
    "PayloadError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "RetryAfter",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnreadableRequestError",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """A field that breaks a rule."""

    field: str
    """Path of the field, as in `options.retry_policy.factor`."""
    description: str
    """What is wrong with it, in words."""


class HaulierError(Exception):
    """Base of every error of this package.

    Attributes:
        message: What happened, in words, with the remedy if there is one.
        operation: What was tried, such as `enqueue`; empty outside of a call.
        reason: Name of the rule, as in `REF_ID_TAKEN`: see `ErrorReason` in the contract. Empty when there is none.
        metadata: Details of the reason, such as `job_id`.
        retry_after: When it may be tried again, if the server said so.
        fields: Fields that break a rule.
    """

    code: ClassVar[str] = "UNKNOWN"
    """gRPC code, as in `NOT_FOUND`."""

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after: timedelta | None = None,
        fields: Sequence[FieldViolation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.retry_after = retry_after
        self.fields = tuple(fields)

    def __str__(self) -> str:
        text = f"{self.operation}: {self.message}" if self.operation else self.message
        return f"{text} ({self.reason})" if self.reason else text


class InvalidArgumentError(HaulierError):
    """Fields break a rule or a limit: `fields` names them."""

    code = "INVALID_ARGUMENT"


class NotFoundError(HaulierError):
    """No such job, task, queue, lock, batch, delivery, worker process or month."""

    code = "NOT_FOUND"


class AlreadyExistsError(HaulierError):
    """The ref id is taken (`REF_ID_TAKEN`), or the request id was used with other content."""

    code = "ALREADY_EXISTS"

    @property
    def job_id(self) -> int | None:
        """Id of the job that has the ref id, if the server told it."""
        text = self.metadata.get("job_id", "")
        return int(text) if text.isdecimal() else None


class FailedPreconditionError(HaulierError):
    """The state does not allow it."""

    code = "FAILED_PRECONDITION"


class AbortedError(HaulierError):
    """A lease, session or lock was lost (`LEASE_LOST`, `SESSION_LOST`, `STALE_SEQUENCE`, `LOCK_LOST`). Never retried."""

    code = "ABORTED"


class LockLostError(AbortedError):
    """The lock is no longer held: another may hold it by now."""


class ResourceExhaustedError(HaulierError):
    """The server has as much in hand as it may, also after retries."""

    code = "RESOURCE_EXHAUSTED"


class UnavailableError(HaulierError):
    """The server cannot be reached or cannot answer now, also after retries."""

    code = "UNAVAILABLE"


class UnauthenticatedError(HaulierError):
    """No valid key: set `HAULIER_API_KEY` or `api_key`."""

    code = "UNAUTHENTICATED"


class PermissionDeniedError(HaulierError):
    """The key lacks a scope, or may not act for other users."""

    code = "PERMISSION_DENIED"


class DeadlineExceededError(HaulierError):
    """The time was over; whether it was done is not known. Repeat it with the same request id."""

    code = "DEADLINE_EXCEEDED"


class CallCancelledError(HaulierError):
    """The call was cancelled."""

    code = "CANCELLED"


class UnimplementedError(HaulierError):
    """This server does not know the method, or has it switched off."""

    code = "UNIMPLEMENTED"


class InternalError(HaulierError):
    """The server's own fault; its log has it under `metadata["error_id"]`."""

    code = "INTERNAL"


class PayloadError(HaulierError):
    """A value cannot be sent: it has no JSON form or is too large."""

    code = "INVALID_ARGUMENT"


class UnreadableRequestError(HaulierError):
    """A value does not have the form that a type or a handler's parameters ask for; a job fails with it at once."""

    code = "INVALID_ARGUMENT"


class JobFailedError(HaulierError):
    """The job that was waited for failed.

    Attributes:
        error_code: The handler's own code, or the type of its error.
        stack: Stack trace of the handler. Empty: none.
        failure: Which rule made it fail, as in `timeout`.
        attempt_count: Attempts of the run.
        attempts: The attempts, where the server tells them.
        job: The job as it ended. None for a transient run.
    """

    code = "FAILED"

    def __init__(
        self,
        message: str,
        *,
        error_code: str = "",
        stack: str = "",
        failure: str = "",
        attempt_count: int = 0,
        attempts: Sequence[JobAttempt] = (),
        job: JobResult | None = None,
        operation: str = "wait",
    ) -> None:
        super().__init__(message, operation=operation)
        self.error_code = error_code
        self.stack = stack
        self.failure = failure
        self.attempt_count = attempt_count
        self.attempts = tuple(attempts)
        self.job = job

    def __str__(self) -> str:
        name = f"job {self.job.summary.id}" if self.job else "the run"
        tries = f" after {self.attempt_count} attempts" if self.attempt_count > 1 else ""
        return f"{name} failed{tries}: {self.error_code}: {self.message}"


class JobCancelledError(HaulierError):
    """The job that was waited for was cancelled.

    Attributes:
        cancel_reason: Which rule cancelled it, as in `client`, `expired`, `parent`.
        job: The job as it ended. None for a transient run.
    """

    code = "CANCELLED"

    def __init__(self, message: str, *, cancel_reason: str = "", job: JobResult | None = None, operation: str = "wait") -> None:
        super().__init__(message, operation=operation)
        self.cancel_reason = cancel_reason
        self.job = job

    def __str__(self) -> str:
        name = f"job {self.job.summary.id}" if self.job else "the run"
        return f"{name} was cancelled ({self.cancel_reason}): {self.message}".removesuffix(": ")


class NonRetryable(HaulierError):
    """Raised by a handler: this failure must not be retried.

    Args:
        message: What went wrong.
        code: The handler's own code; the default is the type of the error it was raised from, else `NonRetryable`.

    Example:
        >>> raise NonRetryable("no such account", code="NO_ACCOUNT")
        Traceback (most recent call last):
        ...
        haulier.NonRetryable: no such account
    """

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.error_code = code


class RetryAfter(HaulierError):
    """Raised by a handler: the attempt failed, try again no earlier than this. The number of retries is the policy's.

    Args:
        delay: How long to wait; at most 30 days.
        message: What went wrong.
        code: The handler's own code; the default is the type of the error it was raised from, else `RetryAfter`.
    """

    def __init__(self, delay: timedelta, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message or f"try again after {delay}")
        self.delay = delay
        self.error_code = code


class Cancelled(HaulierError):
    """Ends a handler as cancelled: raised by `Job.raise_if_stopped`, or by a handler that ends itself so."""


_BY_CODE: dict[grpc.StatusCode, type[HaulierError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: CallCancelledError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.DATA_LOSS: InternalError,
}


def from_rpc_error(operation: str, error: grpc.aio.AioRpcError, address: str) -> HaulierError:
    """The typed form of a failed call."""
    code = error.code()
    reason, metadata, retry_after, fields = _details(error)
    message = error.details() or code.name.lower().replace("_", " ")
    if not reason:
        if code is grpc.StatusCode.UNAVAILABLE:
            message = f"no answer from {address}: {message}; is the server running, and HAULIER_ADDRESS right?"
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
            message = f"no answer from {address} in time"
        elif code is grpc.StatusCode.UNIMPLEMENTED:
            message = f"the server at {address} does not support it: {message}"
    kind = _BY_CODE.get(code, HaulierError)
    if reason == "LOCK_LOST":
        kind = LockLostError
    return kind(message, operation=operation, reason=reason, metadata=metadata, retry_after=retry_after, fields=fields)


def _details(
    error: grpc.aio.AioRpcError,
) -> tuple[str, dict[str, str], timedelta | None, list[FieldViolation]]:
    reason, metadata, retry_after = "", dict[str, str](), None
    fields: list[FieldViolation] = []
    trailing: Any = error.trailing_metadata()
    for key, value in trailing or ():
        if key != "grpc-status-details-bin":
            continue
        status = status_pb2.Status()
        try:
            status.ParseFromString(value)
        except Exception:  # a proxy's own details are not ours to judge
            break
        for detail in status.details:
            kind = detail.TypeName()
            if kind == "google.rpc.ErrorInfo":
                info = error_details_pb2.ErrorInfo.FromString(detail.value)
                reason, metadata = info.reason, dict(info.metadata)
            elif kind == "google.rpc.RetryInfo":
                retry_after = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay.ToTimedelta()
            elif kind == "google.rpc.BadRequest":
                bad = error_details_pb2.BadRequest.FromString(detail.value)
                fields += [
                    FieldViolation(field=violation.field, description=violation.description) for violation in bad.field_violations
                ]
    return reason, metadata, retry_after, fields


for _name in __all__:
    globals()[_name].__module__ = "haulier"  # as users import them, and as tracebacks should show them
