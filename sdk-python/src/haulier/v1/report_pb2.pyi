import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from haulier.v1 import enqueue_pb2 as _enqueue_pb2
from haulier.v1 import job_pb2 as _job_pb2
from haulier.v1 import log_pb2 as _log_pb2
from haulier.v1 import payload_pb2 as _payload_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReportErrorCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPORT_ERROR_CODE_UNSPECIFIED: _ClassVar[ReportErrorCode]
    REPORT_ERROR_CODE_LEASE_LOST: _ClassVar[ReportErrorCode]
    REPORT_ERROR_CODE_SESSION_LOST: _ClassVar[ReportErrorCode]
    REPORT_ERROR_CODE_LOG_GAP: _ClassVar[ReportErrorCode]
    REPORT_ERROR_CODE_INVALID: _ClassVar[ReportErrorCode]
    REPORT_ERROR_CODE_RESOURCE_EXHAUSTED: _ClassVar[ReportErrorCode]
    REPORT_ERROR_CODE_UNAVAILABLE: _ClassVar[ReportErrorCode]

class CancelKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANCEL_KIND_UNSPECIFIED: _ClassVar[CancelKind]
    CANCEL_KIND_CLIENT: _ClassVar[CancelKind]
    CANCEL_KIND_TIMEOUT: _ClassVar[CancelKind]
REPORT_ERROR_CODE_UNSPECIFIED: ReportErrorCode
REPORT_ERROR_CODE_LEASE_LOST: ReportErrorCode
REPORT_ERROR_CODE_SESSION_LOST: ReportErrorCode
REPORT_ERROR_CODE_LOG_GAP: ReportErrorCode
REPORT_ERROR_CODE_INVALID: ReportErrorCode
REPORT_ERROR_CODE_RESOURCE_EXHAUSTED: ReportErrorCode
REPORT_ERROR_CODE_UNAVAILABLE: ReportErrorCode
CANCEL_KIND_UNSPECIFIED: CancelKind
CANCEL_KIND_CLIENT: CancelKind
CANCEL_KIND_TIMEOUT: CancelKind

class Heartbeat(_message.Message):
    __slots__ = ("beat", "loops", "leases")
    BEAT_FIELD_NUMBER: _ClassVar[int]
    LOOPS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    beat: int
    loops: _containers.RepeatedCompositeFieldContainer[LoopState]
    leases: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, beat: _Optional[int] = ..., loops: _Optional[_Iterable[_Union[LoopState, _Mapping]]] = ..., leases: _Optional[_Iterable[str]] = ...) -> None: ...

class LoopState(_message.Message):
    __slots__ = ("loop", "received", "sent", "sent_open")
    LOOP_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    SENT_OPEN_FIELD_NUMBER: _ClassVar[int]
    loop: int
    received: int
    sent: int
    sent_open: bool
    def __init__(self, loop: _Optional[int] = ..., received: _Optional[int] = ..., sent: _Optional[int] = ..., sent_open: bool = ...) -> None: ...

class ReceivedReport(_message.Message):
    __slots__ = ("loop", "sequence")
    LOOP_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    loop: int
    sequence: int
    def __init__(self, loop: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class LogReport(_message.Message):
    __slots__ = ("lease", "from_sequence", "lines")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    lease: str
    from_sequence: int
    lines: _containers.RepeatedCompositeFieldContainer[LogEntry]
    def __init__(self, lease: _Optional[str] = ..., from_sequence: _Optional[int] = ..., lines: _Optional[_Iterable[_Union[LogEntry, _Mapping]]] = ...) -> None: ...

class LogEntry(_message.Message):
    __slots__ = ("time_ago", "level", "message", "fields")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TIME_AGO_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    time_ago: _duration_pb2.Duration
    level: _log_pb2.LogLevel
    message: str
    fields: _containers.ScalarMap[str, str]
    def __init__(self, time_ago: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., level: _Optional[_Union[_log_pb2.LogLevel, str]] = ..., message: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CheckpointReport(_message.Message):
    __slots__ = ("lease", "sequence", "payload")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    lease: str
    sequence: int
    payload: _payload_pb2.Payload
    def __init__(self, lease: _Optional[str] = ..., sequence: _Optional[int] = ..., payload: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ...) -> None: ...

class ProgressReport(_message.Message):
    __slots__ = ("lease", "progress", "status")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    lease: str
    progress: float
    status: str
    def __init__(self, lease: _Optional[str] = ..., progress: _Optional[float] = ..., status: _Optional[str] = ...) -> None: ...

class OutcomeReport(_message.Message):
    __slots__ = ("lease", "log_sequence", "complete", "fail", "release", "cancelled")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    LOG_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    FAIL_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    lease: str
    log_sequence: int
    complete: CompleteOutcome
    fail: FailOutcome
    release: ReleaseOutcome
    cancelled: CancelledOutcome
    def __init__(self, lease: _Optional[str] = ..., log_sequence: _Optional[int] = ..., complete: _Optional[_Union[CompleteOutcome, _Mapping]] = ..., fail: _Optional[_Union[FailOutcome, _Mapping]] = ..., release: _Optional[_Union[ReleaseOutcome, _Mapping]] = ..., cancelled: _Optional[_Union[CancelledOutcome, _Mapping]] = ...) -> None: ...

class CompleteOutcome(_message.Message):
    __slots__ = ("result", "enqueue")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ENQUEUE_FIELD_NUMBER: _ClassVar[int]
    result: _payload_pb2.Payload
    enqueue: _containers.RepeatedCompositeFieldContainer[_enqueue_pb2.EnqueueItem]
    def __init__(self, result: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., enqueue: _Optional[_Iterable[_Union[_enqueue_pb2.EnqueueItem, _Mapping]]] = ...) -> None: ...

class FailOutcome(_message.Message):
    __slots__ = ("code", "message", "stack", "retryable", "retry_delay", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    stack: str
    retryable: bool
    retry_delay: _duration_pb2.Duration
    reason: _job_pb2.FailureReason
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., stack: _Optional[str] = ..., retryable: bool = ..., retry_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[_Union[_job_pb2.FailureReason, str]] = ...) -> None: ...

class ReleaseOutcome(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class CancelledOutcome(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class HeartbeatAck(_message.Message):
    __slots__ = ("beat", "lease_time")
    BEAT_FIELD_NUMBER: _ClassVar[int]
    LEASE_TIME_FIELD_NUMBER: _ClassVar[int]
    beat: int
    lease_time: _duration_pb2.Duration
    def __init__(self, beat: _Optional[int] = ..., lease_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReportAck(_message.Message):
    __slots__ = ("lease", "outcome_stored", "state", "log_sequence", "checkpoint_sequence", "error")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_STORED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LOG_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    lease: str
    outcome_stored: bool
    state: _job_pb2.JobState
    log_sequence: int
    checkpoint_sequence: int
    error: ReportError
    def __init__(self, lease: _Optional[str] = ..., outcome_stored: bool = ..., state: _Optional[_Union[_job_pb2.JobState, str]] = ..., log_sequence: _Optional[int] = ..., checkpoint_sequence: _Optional[int] = ..., error: _Optional[_Union[ReportError, _Mapping]] = ...) -> None: ...

class ReportError(_message.Message):
    __slots__ = ("code", "message", "field")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    code: ReportErrorCode
    message: str
    field: str
    def __init__(self, code: _Optional[_Union[ReportErrorCode, str]] = ..., message: _Optional[str] = ..., field: _Optional[str] = ...) -> None: ...

class Directive(_message.Message):
    __slots__ = ("lease_lost", "cancel", "drain")
    LEASE_LOST_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    lease_lost: LeaseLost
    cancel: CancelDirective
    drain: Drain
    def __init__(self, lease_lost: _Optional[_Union[LeaseLost, _Mapping]] = ..., cancel: _Optional[_Union[CancelDirective, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ...) -> None: ...

class LeaseLost(_message.Message):
    __slots__ = ("lease", "reason")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease: str
    reason: str
    def __init__(self, lease: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelDirective(_message.Message):
    __slots__ = ("lease", "reason", "grace", "kind")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    lease: str
    reason: str
    grace: _duration_pb2.Duration
    kind: CancelKind
    def __init__(self, lease: _Optional[str] = ..., reason: _Optional[str] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., kind: _Optional[_Union[CancelKind, str]] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("reason", "grace")
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    grace: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
