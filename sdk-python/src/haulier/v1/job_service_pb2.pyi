import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haulier.v1 import api_call_pb2 as _api_call_pb2
from haulier.v1 import attempt_pb2 as _attempt_pb2
from haulier.v1 import batch_pb2 as _batch_pb2
from haulier.v1 import delivery_pb2 as _delivery_pb2
from haulier.v1 import enqueue_pb2 as _enqueue_pb2
from haulier.v1 import job_pb2 as _job_pb2
from haulier.v1 import job_filter_pb2 as _job_filter_pb2
from haulier.v1 import log_pb2 as _log_pb2
from haulier.v1 import options_pb2 as _options_pb2
from haulier.v1 import payload_pb2 as _payload_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIST_ORDER_UNSPECIFIED: _ClassVar[ListOrder]
    LIST_ORDER_NEWEST_FIRST: _ClassVar[ListOrder]
    LIST_ORDER_OLDEST_FIRST: _ClassVar[ListOrder]

class WatchUntil(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WATCH_UNTIL_UNSPECIFIED: _ClassVar[WatchUntil]
    WATCH_UNTIL_OUTCOME: _ClassVar[WatchUntil]
    WATCH_UNTIL_NOTIFIED: _ClassVar[WatchUntil]

class CancelResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANCEL_RESULT_UNSPECIFIED: _ClassVar[CancelResult]
    CANCEL_RESULT_CANCELLED: _ClassVar[CancelResult]
    CANCEL_RESULT_REQUESTED: _ClassVar[CancelResult]
    CANCEL_RESULT_ALREADY_FINISHED: _ClassVar[CancelResult]

class ExplainCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPLAIN_CODE_UNSPECIFIED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_SCHEDULED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_BACKOFF: _ClassVar[ExplainCode]
    EXPLAIN_CODE_WAITING_FOR_PARENTS: _ClassVar[ExplainCode]
    EXPLAIN_CODE_WORKER_BUSY: _ClassVar[ExplainCode]
    EXPLAIN_CODE_QUEUE_PAUSED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_CONCURRENCY_LIMIT: _ClassVar[ExplainCode]
    EXPLAIN_CODE_RATE_LIMIT: _ClassVar[ExplainCode]
    EXPLAIN_CODE_COMMAND_NOT_SERVED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_QUEUE_NOT_SERVED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_WORKERS_DRAINING: _ClassVar[ExplainCode]
    EXPLAIN_CODE_WORKERS_FULL: _ClassVar[ExplainCode]
    EXPLAIN_CODE_QUARANTINED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_POOL_OFF: _ClassVar[ExplainCode]
    EXPLAIN_CODE_ABOUT_TO_START: _ClassVar[ExplainCode]
    EXPLAIN_CODE_RUNNING: _ClassVar[ExplainCode]
    EXPLAIN_CODE_STOPPING: _ClassVar[ExplainCode]
    EXPLAIN_CODE_IN_DOUBT: _ClassVar[ExplainCode]
    EXPLAIN_CODE_EXECUTED: _ClassVar[ExplainCode]
    EXPLAIN_CODE_FINISHED: _ClassVar[ExplainCode]
LIST_ORDER_UNSPECIFIED: ListOrder
LIST_ORDER_NEWEST_FIRST: ListOrder
LIST_ORDER_OLDEST_FIRST: ListOrder
WATCH_UNTIL_UNSPECIFIED: WatchUntil
WATCH_UNTIL_OUTCOME: WatchUntil
WATCH_UNTIL_NOTIFIED: WatchUntil
CANCEL_RESULT_UNSPECIFIED: CancelResult
CANCEL_RESULT_CANCELLED: CancelResult
CANCEL_RESULT_REQUESTED: CancelResult
CANCEL_RESULT_ALREADY_FINISHED: CancelResult
EXPLAIN_CODE_UNSPECIFIED: ExplainCode
EXPLAIN_CODE_SCHEDULED: ExplainCode
EXPLAIN_CODE_BACKOFF: ExplainCode
EXPLAIN_CODE_WAITING_FOR_PARENTS: ExplainCode
EXPLAIN_CODE_WORKER_BUSY: ExplainCode
EXPLAIN_CODE_QUEUE_PAUSED: ExplainCode
EXPLAIN_CODE_CONCURRENCY_LIMIT: ExplainCode
EXPLAIN_CODE_RATE_LIMIT: ExplainCode
EXPLAIN_CODE_COMMAND_NOT_SERVED: ExplainCode
EXPLAIN_CODE_QUEUE_NOT_SERVED: ExplainCode
EXPLAIN_CODE_WORKERS_DRAINING: ExplainCode
EXPLAIN_CODE_WORKERS_FULL: ExplainCode
EXPLAIN_CODE_QUARANTINED: ExplainCode
EXPLAIN_CODE_POOL_OFF: ExplainCode
EXPLAIN_CODE_ABOUT_TO_START: ExplainCode
EXPLAIN_CODE_RUNNING: ExplainCode
EXPLAIN_CODE_STOPPING: ExplainCode
EXPLAIN_CODE_IN_DOUBT: ExplainCode
EXPLAIN_CODE_EXECUTED: ExplainCode
EXPLAIN_CODE_FINISHED: ExplainCode

class EnqueueCommandRequest(_message.Message):
    __slots__ = ("command", "request", "options", "request_id")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    command: str
    request: _payload_pb2.Payload
    options: _options_pb2.JobOptions
    request_id: str
    def __init__(self, command: _Optional[str] = ..., request: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., options: _Optional[_Union[_options_pb2.JobOptions, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class EnqueueCommandResponse(_message.Message):
    __slots__ = ("job_id", "ref_id", "created", "state")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    ref_id: str
    created: bool
    state: _job_pb2.JobState
    def __init__(self, job_id: _Optional[int] = ..., ref_id: _Optional[str] = ..., created: bool = ..., state: _Optional[_Union[_job_pb2.JobState, str]] = ...) -> None: ...

class EnqueueApiRequest(_message.Message):
    __slots__ = ("api", "request", "options", "request_id")
    API_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    api: _api_call_pb2.ApiCall
    request: _payload_pb2.Payload
    options: _options_pb2.JobOptions
    request_id: str
    def __init__(self, api: _Optional[_Union[_api_call_pb2.ApiCall, _Mapping]] = ..., request: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., options: _Optional[_Union[_options_pb2.JobOptions, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class EnqueueApiResponse(_message.Message):
    __slots__ = ("job_id", "ref_id", "created", "state")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    ref_id: str
    created: bool
    state: _job_pb2.JobState
    def __init__(self, job_id: _Optional[int] = ..., ref_id: _Optional[str] = ..., created: bool = ..., state: _Optional[_Union[_job_pb2.JobState, str]] = ...) -> None: ...

class EnqueueBatchRequest(_message.Message):
    __slots__ = ("items", "batch_id", "request_id")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_enqueue_pb2.EnqueueItem]
    batch_id: str
    request_id: str
    def __init__(self, items: _Optional[_Iterable[_Union[_enqueue_pb2.EnqueueItem, _Mapping]]] = ..., batch_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class EnqueueBatchResponse(_message.Message):
    __slots__ = ("batch_id", "jobs")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    jobs: _containers.RepeatedCompositeFieldContainer[_enqueue_pb2.EnqueuedJob]
    def __init__(self, batch_id: _Optional[str] = ..., jobs: _Optional[_Iterable[_Union[_enqueue_pb2.EnqueuedJob, _Mapping]]] = ...) -> None: ...

class RunCommandRequest(_message.Message):
    __slots__ = ("command", "request", "options", "wait", "detach")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    DETACH_FIELD_NUMBER: _ClassVar[int]
    command: str
    request: _payload_pb2.Payload
    options: _options_pb2.JobOptions
    wait: _duration_pb2.Duration
    detach: bool
    def __init__(self, command: _Optional[str] = ..., request: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., options: _Optional[_Union[_options_pb2.JobOptions, _Mapping]] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., detach: bool = ...) -> None: ...

class RunCommandResponse(_message.Message):
    __slots__ = ("ref_id", "state", "result", "error")
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ref_id: str
    state: _job_pb2.JobState
    result: _payload_pb2.Payload
    error: _job_pb2.JobError
    def __init__(self, ref_id: _Optional[str] = ..., state: _Optional[_Union[_job_pb2.JobState, str]] = ..., result: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., error: _Optional[_Union[_job_pb2.JobError, _Mapping]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id", "run", "include_parent")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PARENT_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    run: int
    include_parent: bool
    def __init__(self, job_id: _Optional[int] = ..., run: _Optional[int] = ..., include_parent: bool = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.JobResult
    def __init__(self, job: _Optional[_Union[_job_pb2.JobResult, _Mapping]] = ...) -> None: ...

class GetJobByRefIdRequest(_message.Message):
    __slots__ = ("ref_id", "run", "include_parent")
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_PARENT_FIELD_NUMBER: _ClassVar[int]
    ref_id: str
    run: int
    include_parent: bool
    def __init__(self, ref_id: _Optional[str] = ..., run: _Optional[int] = ..., include_parent: bool = ...) -> None: ...

class GetJobByRefIdResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.JobResult
    def __init__(self, job: _Optional[_Union[_job_pb2.JobResult, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("filter", "order", "page_size", "page_token", "month")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MONTH_FIELD_NUMBER: _ClassVar[int]
    filter: _job_filter_pb2.JobFilter
    order: ListOrder
    page_size: int
    page_token: str
    month: str
    def __init__(self, filter: _Optional[_Union[_job_filter_pb2.JobFilter, _Mapping]] = ..., order: _Optional[_Union[ListOrder, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., month: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_job_pb2.JobSummary]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[_job_pb2.JobSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("job_id", "ref_id", "resume_token", "until", "include_logs")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_LOGS_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    ref_id: str
    resume_token: str
    until: WatchUntil
    include_logs: bool
    def __init__(self, job_id: _Optional[int] = ..., ref_id: _Optional[str] = ..., resume_token: _Optional[str] = ..., until: _Optional[_Union[WatchUntil, str]] = ..., include_logs: bool = ...) -> None: ...

class WatchJobResponse(_message.Message):
    __slots__ = ("resume_token", "snapshot", "state", "progress", "logs", "gap")
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    resume_token: str
    snapshot: _job_pb2.JobResult
    state: _job_pb2.JobSummary
    progress: ProgressEvent
    logs: LogEvent
    gap: GapEvent
    def __init__(self, resume_token: _Optional[str] = ..., snapshot: _Optional[_Union[_job_pb2.JobResult, _Mapping]] = ..., state: _Optional[_Union[_job_pb2.JobSummary, _Mapping]] = ..., progress: _Optional[_Union[ProgressEvent, _Mapping]] = ..., logs: _Optional[_Union[LogEvent, _Mapping]] = ..., gap: _Optional[_Union[GapEvent, _Mapping]] = ...) -> None: ...

class ProgressEvent(_message.Message):
    __slots__ = ("run", "epoch", "progress", "progress_estimated", "status", "time")
    RUN_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    run: int
    epoch: int
    progress: float
    progress_estimated: bool
    status: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, run: _Optional[int] = ..., epoch: _Optional[int] = ..., progress: _Optional[float] = ..., progress_estimated: bool = ..., status: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LogEvent(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[_log_pb2.LogLine]
    def __init__(self, lines: _Optional[_Iterable[_Union[_log_pb2.LogLine, _Mapping]]] = ...) -> None: ...

class GapEvent(_message.Message):
    __slots__ = ("run", "epoch", "from_sequence", "to_sequence", "reason")
    RUN_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TO_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run: int
    epoch: int
    from_sequence: int
    to_sequence: int
    reason: str
    def __init__(self, run: _Optional[int] = ..., epoch: _Optional[int] = ..., from_sequence: _Optional[int] = ..., to_sequence: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class WatchJobsRequest(_message.Message):
    __slots__ = ("filter", "resume_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: _job_filter_pb2.JobFilter
    resume_token: str
    def __init__(self, filter: _Optional[_Union[_job_filter_pb2.JobFilter, _Mapping]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class WatchJobsResponse(_message.Message):
    __slots__ = ("resume_token", "job", "synced", "gap")
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    resume_token: str
    job: _job_pb2.JobSummary
    synced: SyncedEvent
    gap: GapEvent
    def __init__(self, resume_token: _Optional[str] = ..., job: _Optional[_Union[_job_pb2.JobSummary, _Mapping]] = ..., synced: _Optional[_Union[SyncedEvent, _Mapping]] = ..., gap: _Optional[_Union[GapEvent, _Mapping]] = ...) -> None: ...

class SyncedEvent(_message.Message):
    __slots__ = ("job_count", "truncated")
    JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    job_count: int
    truncated: bool
    def __init__(self, job_count: _Optional[int] = ..., truncated: bool = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("job_id", "ref_id", "reason", "grace")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    ref_id: str
    reason: str
    grace: _duration_pb2.Duration
    def __init__(self, job_id: _Optional[int] = ..., ref_id: _Optional[str] = ..., reason: _Optional[str] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("result", "job")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    result: CancelResult
    job: _job_pb2.JobSummary
    def __init__(self, result: _Optional[_Union[CancelResult, str]] = ..., job: _Optional[_Union[_job_pb2.JobSummary, _Mapping]] = ...) -> None: ...

class CancelJobsRequest(_message.Message):
    __slots__ = ("filter", "reason", "grace", "validate_only")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    filter: _job_filter_pb2.JobFilter
    reason: str
    grace: _duration_pb2.Duration
    validate_only: bool
    def __init__(self, filter: _Optional[_Union[_job_filter_pb2.JobFilter, _Mapping]] = ..., reason: _Optional[str] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., validate_only: bool = ...) -> None: ...

class CancelJobsResponse(_message.Message):
    __slots__ = ("matched_count", "cancelled_count", "requested_count")
    MATCHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    matched_count: int
    cancelled_count: int
    requested_count: int
    def __init__(self, matched_count: _Optional[int] = ..., cancelled_count: _Optional[int] = ..., requested_count: _Optional[int] = ...) -> None: ...

class RequeueJobRequest(_message.Message):
    __slots__ = ("job_id", "run", "include_dependants", "request_id")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_DEPENDANTS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    run: int
    include_dependants: bool
    request_id: str
    def __init__(self, job_id: _Optional[int] = ..., run: _Optional[int] = ..., include_dependants: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class RequeueJobResponse(_message.Message):
    __slots__ = ("job", "created", "dependant_count")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    DEPENDANT_COUNT_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.JobSummary
    created: bool
    dependant_count: int
    def __init__(self, job: _Optional[_Union[_job_pb2.JobSummary, _Mapping]] = ..., created: bool = ..., dependant_count: _Optional[int] = ...) -> None: ...

class RequeueJobsRequest(_message.Message):
    __slots__ = ("filter", "include_dependants", "validate_only", "month")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_DEPENDANTS_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    MONTH_FIELD_NUMBER: _ClassVar[int]
    filter: _job_filter_pb2.JobFilter
    include_dependants: bool
    validate_only: bool
    month: str
    def __init__(self, filter: _Optional[_Union[_job_filter_pb2.JobFilter, _Mapping]] = ..., include_dependants: bool = ..., validate_only: bool = ..., month: _Optional[str] = ...) -> None: ...

class RequeueJobsResponse(_message.Message):
    __slots__ = ("matched_count", "requeued_count")
    MATCHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUEUED_COUNT_FIELD_NUMBER: _ClassVar[int]
    matched_count: int
    requeued_count: int
    def __init__(self, matched_count: _Optional[int] = ..., requeued_count: _Optional[int] = ...) -> None: ...

class ListJobAttemptsRequest(_message.Message):
    __slots__ = ("job_id", "run", "page_size", "page_token")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    run: int
    page_size: int
    page_token: str
    def __init__(self, job_id: _Optional[int] = ..., run: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobAttemptsResponse(_message.Message):
    __slots__ = ("attempts", "next_page_token")
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedCompositeFieldContainer[_attempt_pb2.JobAttempt]
    next_page_token: str
    def __init__(self, attempts: _Optional[_Iterable[_Union[_attempt_pb2.JobAttempt, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListJobLogsRequest(_message.Message):
    __slots__ = ("job_id", "run", "epoch", "from_sequence", "min_level", "page_size", "page_token")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MIN_LEVEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    run: int
    epoch: int
    from_sequence: int
    min_level: _log_pb2.LogLevel
    page_size: int
    page_token: str
    def __init__(self, job_id: _Optional[int] = ..., run: _Optional[int] = ..., epoch: _Optional[int] = ..., from_sequence: _Optional[int] = ..., min_level: _Optional[_Union[_log_pb2.LogLevel, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobLogsResponse(_message.Message):
    __slots__ = ("lines", "next_page_token")
    LINES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[_log_pb2.LogLine]
    next_page_token: str
    def __init__(self, lines: _Optional[_Iterable[_Union[_log_pb2.LogLine, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetBatchRequest(_message.Message):
    __slots__ = ("batch_id",)
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    def __init__(self, batch_id: _Optional[str] = ...) -> None: ...

class GetBatchResponse(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: _batch_pb2.Batch
    def __init__(self, batch: _Optional[_Union[_batch_pb2.Batch, _Mapping]] = ...) -> None: ...

class ListDeliveriesRequest(_message.Message):
    __slots__ = ("job_id", "states", "page_size", "page_token")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    states: _containers.RepeatedScalarFieldContainer[_delivery_pb2.DeliveryState]
    page_size: int
    page_token: str
    def __init__(self, job_id: _Optional[int] = ..., states: _Optional[_Iterable[_Union[_delivery_pb2.DeliveryState, str]]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDeliveriesResponse(_message.Message):
    __slots__ = ("deliveries", "next_page_token")
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    deliveries: _containers.RepeatedCompositeFieldContainer[_delivery_pb2.Delivery]
    next_page_token: str
    def __init__(self, deliveries: _Optional[_Iterable[_Union[_delivery_pb2.Delivery, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ReplayDeliveryRequest(_message.Message):
    __slots__ = ("delivery_id",)
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    delivery_id: int
    def __init__(self, delivery_id: _Optional[int] = ...) -> None: ...

class ReplayDeliveryResponse(_message.Message):
    __slots__ = ("delivery",)
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    delivery: _delivery_pb2.Delivery
    def __init__(self, delivery: _Optional[_Union[_delivery_pb2.Delivery, _Mapping]] = ...) -> None: ...

class ExplainJobRequest(_message.Message):
    __slots__ = ("job_id", "ref_id")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    ref_id: str
    def __init__(self, job_id: _Optional[int] = ..., ref_id: _Optional[str] = ...) -> None: ...

class ExplainJobResponse(_message.Message):
    __slots__ = ("code", "explanation", "details", "job")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    code: ExplainCode
    explanation: str
    details: _containers.ScalarMap[str, str]
    job: _job_pb2.JobSummary
    def __init__(self, code: _Optional[_Union[ExplainCode, str]] = ..., explanation: _Optional[str] = ..., details: _Optional[_Mapping[str, str]] = ..., job: _Optional[_Union[_job_pb2.JobSummary, _Mapping]] = ...) -> None: ...
