import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haulier.v1 import api_call_pb2 as _api_call_pb2
from haulier.v1 import options_pb2 as _options_pb2
from haulier.v1 import payload_pb2 as _payload_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_SCHEDULED: _ClassVar[JobState]
    JOB_STATE_BLOCKED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_EXECUTED: _ClassVar[JobState]
    JOB_STATE_COMPLETED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class FailureReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_REASON_UNSPECIFIED: _ClassVar[FailureReason]
    FAILURE_REASON_HANDLER: _ClassVar[FailureReason]
    FAILURE_REASON_NON_RETRYABLE: _ClassVar[FailureReason]
    FAILURE_REASON_TIMEOUT: _ClassVar[FailureReason]
    FAILURE_REASON_POISON: _ClassVar[FailureReason]
    FAILURE_REASON_ABANDONED: _ClassVar[FailureReason]
    FAILURE_REASON_UNREADABLE_REQUEST: _ClassVar[FailureReason]
    FAILURE_REASON_API: _ClassVar[FailureReason]
    FAILURE_REASON_WORKER_LOST: _ClassVar[FailureReason]
    FAILURE_REASON_UNSTORABLE_RESULT: _ClassVar[FailureReason]

class CancelReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANCEL_REASON_UNSPECIFIED: _ClassVar[CancelReason]
    CANCEL_REASON_CLIENT: _ClassVar[CancelReason]
    CANCEL_REASON_EXPIRED: _ClassVar[CancelReason]
    CANCEL_REASON_PARENT: _ClassVar[CancelReason]
    CANCEL_REASON_FORCED: _ClassVar[CancelReason]
    CANCEL_REASON_HANDLER: _ClassVar[CancelReason]
    CANCEL_REASON_SUPERSEDED: _ClassVar[CancelReason]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_SCHEDULED: JobState
JOB_STATE_BLOCKED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_EXECUTED: JobState
JOB_STATE_COMPLETED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
FAILURE_REASON_UNSPECIFIED: FailureReason
FAILURE_REASON_HANDLER: FailureReason
FAILURE_REASON_NON_RETRYABLE: FailureReason
FAILURE_REASON_TIMEOUT: FailureReason
FAILURE_REASON_POISON: FailureReason
FAILURE_REASON_ABANDONED: FailureReason
FAILURE_REASON_UNREADABLE_REQUEST: FailureReason
FAILURE_REASON_API: FailureReason
FAILURE_REASON_WORKER_LOST: FailureReason
FAILURE_REASON_UNSTORABLE_RESULT: FailureReason
CANCEL_REASON_UNSPECIFIED: CancelReason
CANCEL_REASON_CLIENT: CancelReason
CANCEL_REASON_EXPIRED: CancelReason
CANCEL_REASON_PARENT: CancelReason
CANCEL_REASON_FORCED: CancelReason
CANCEL_REASON_HANDLER: CancelReason
CANCEL_REASON_SUPERSEDED: CancelReason

class JobSummary(_message.Message):
    __slots__ = ("id", "ref_id", "run", "state", "command", "api", "queue", "worker", "priority", "tag", "batch_id", "parent_id", "created_by", "enqueued_by", "user_id", "recurring_task", "attempt", "crashes", "epoch", "progress", "progress_estimated", "status", "create_time", "ready_time", "start_time", "finish_time", "notify_time", "error", "cancel_requested", "cancel_reason", "cancel_message", "worker_process", "transient", "callback_job_id", "callback_error", "notify_error")
    ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    ENQUEUED_BY_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    RECURRING_TASK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CRASHES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    READY_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    NOTIFY_TIME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REASON_FIELD_NUMBER: _ClassVar[int]
    CANCEL_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    WORKER_PROCESS_FIELD_NUMBER: _ClassVar[int]
    TRANSIENT_FIELD_NUMBER: _ClassVar[int]
    CALLBACK_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CALLBACK_ERROR_FIELD_NUMBER: _ClassVar[int]
    NOTIFY_ERROR_FIELD_NUMBER: _ClassVar[int]
    id: int
    ref_id: str
    run: int
    state: JobState
    command: str
    api: _api_call_pb2.ApiCall
    queue: str
    worker: str
    priority: int
    tag: str
    batch_id: str
    parent_id: int
    created_by: str
    enqueued_by: str
    user_id: str
    recurring_task: str
    attempt: int
    crashes: int
    epoch: int
    progress: float
    progress_estimated: bool
    status: str
    create_time: _timestamp_pb2.Timestamp
    ready_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    finish_time: _timestamp_pb2.Timestamp
    notify_time: _timestamp_pb2.Timestamp
    error: JobError
    cancel_requested: bool
    cancel_reason: CancelReason
    cancel_message: str
    worker_process: str
    transient: bool
    callback_job_id: int
    callback_error: str
    notify_error: str
    def __init__(self, id: _Optional[int] = ..., ref_id: _Optional[str] = ..., run: _Optional[int] = ..., state: _Optional[_Union[JobState, str]] = ..., command: _Optional[str] = ..., api: _Optional[_Union[_api_call_pb2.ApiCall, _Mapping]] = ..., queue: _Optional[str] = ..., worker: _Optional[str] = ..., priority: _Optional[int] = ..., tag: _Optional[str] = ..., batch_id: _Optional[str] = ..., parent_id: _Optional[int] = ..., created_by: _Optional[str] = ..., enqueued_by: _Optional[str] = ..., user_id: _Optional[str] = ..., recurring_task: _Optional[str] = ..., attempt: _Optional[int] = ..., crashes: _Optional[int] = ..., epoch: _Optional[int] = ..., progress: _Optional[float] = ..., progress_estimated: bool = ..., status: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ready_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., notify_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., cancel_requested: bool = ..., cancel_reason: _Optional[_Union[CancelReason, str]] = ..., cancel_message: _Optional[str] = ..., worker_process: _Optional[str] = ..., transient: bool = ..., callback_job_id: _Optional[int] = ..., callback_error: _Optional[str] = ..., notify_error: _Optional[str] = ...) -> None: ...

class JobResult(_message.Message):
    __slots__ = ("summary", "queued", "completed", "failed", "parent", "payloads_hidden")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_HIDDEN_FIELD_NUMBER: _ClassVar[int]
    summary: JobSummary
    queued: QueuedJob
    completed: CompletedJob
    failed: FailedJob
    parent: ParentResult
    payloads_hidden: bool
    def __init__(self, summary: _Optional[_Union[JobSummary, _Mapping]] = ..., queued: _Optional[_Union[QueuedJob, _Mapping]] = ..., completed: _Optional[_Union[CompletedJob, _Mapping]] = ..., failed: _Optional[_Union[FailedJob, _Mapping]] = ..., parent: _Optional[_Union[ParentResult, _Mapping]] = ..., payloads_hidden: bool = ...) -> None: ...

class QueuedJob(_message.Message):
    __slots__ = ("request", "options", "checkpoint", "waiting_for", "cancel_deadline_time")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    CANCEL_DEADLINE_TIME_FIELD_NUMBER: _ClassVar[int]
    request: _payload_pb2.Payload
    options: _options_pb2.JobOptions
    checkpoint: _payload_pb2.Payload
    waiting_for: _containers.RepeatedScalarFieldContainer[int]
    cancel_deadline_time: _timestamp_pb2.Timestamp
    def __init__(self, request: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., options: _Optional[_Union[_options_pb2.JobOptions, _Mapping]] = ..., checkpoint: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., waiting_for: _Optional[_Iterable[int]] = ..., cancel_deadline_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CompletedJob(_message.Message):
    __slots__ = ("request", "options", "result", "checkpoint")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    request: _payload_pb2.Payload
    options: _options_pb2.JobOptions
    result: _payload_pb2.Payload
    checkpoint: _payload_pb2.Payload
    def __init__(self, request: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., options: _Optional[_Union[_options_pb2.JobOptions, _Mapping]] = ..., result: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., checkpoint: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ...) -> None: ...

class FailedJob(_message.Message):
    __slots__ = ("request", "options", "error", "checkpoint", "cancel_reason", "cancel_message")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REASON_FIELD_NUMBER: _ClassVar[int]
    CANCEL_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    request: _payload_pb2.Payload
    options: _options_pb2.JobOptions
    error: JobError
    checkpoint: _payload_pb2.Payload
    cancel_reason: CancelReason
    cancel_message: str
    def __init__(self, request: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., options: _Optional[_Union[_options_pb2.JobOptions, _Mapping]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., checkpoint: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., cancel_reason: _Optional[_Union[CancelReason, str]] = ..., cancel_message: _Optional[str] = ...) -> None: ...

class ParentResult(_message.Message):
    __slots__ = ("job_id", "ref_id", "state", "request", "result", "error", "by_reference", "command")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    BY_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    ref_id: str
    state: JobState
    request: _payload_pb2.Payload
    result: _payload_pb2.Payload
    error: JobError
    by_reference: bool
    command: str
    def __init__(self, job_id: _Optional[int] = ..., ref_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., request: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., result: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., by_reference: bool = ..., command: _Optional[str] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("code", "message", "stack", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    stack: str
    reason: FailureReason
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., stack: _Optional[str] = ..., reason: _Optional[_Union[FailureReason, str]] = ...) -> None: ...

class JobCounts(_message.Message):
    __slots__ = ("scheduled", "blocked", "queued", "running", "executed", "completed", "failed", "cancelled", "total")
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    scheduled: int
    blocked: int
    queued: int
    running: int
    executed: int
    completed: int
    failed: int
    cancelled: int
    total: int
    def __init__(self, scheduled: _Optional[int] = ..., blocked: _Optional[int] = ..., queued: _Optional[int] = ..., running: _Optional[int] = ..., executed: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...
