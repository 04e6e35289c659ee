import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from haulier.v1 import lease_pb2 as _lease_pb2
from haulier.v1 import report_pb2 as _report_pb2
from haulier.v1 import worker_pb2 as _worker_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RegisterWorkerRequest(_message.Message):
    __slots__ = ("name", "instance_id", "commands", "queues", "labels", "slots", "lease_time", "sdk")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    LEASE_TIME_FIELD_NUMBER: _ClassVar[int]
    SDK_FIELD_NUMBER: _ClassVar[int]
    name: str
    instance_id: str
    commands: _containers.RepeatedCompositeFieldContainer[_worker_pb2.ServedCommand]
    queues: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    slots: int
    lease_time: _duration_pb2.Duration
    sdk: str
    def __init__(self, name: _Optional[str] = ..., instance_id: _Optional[str] = ..., commands: _Optional[_Iterable[_Union[_worker_pb2.ServedCommand, _Mapping]]] = ..., queues: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., slots: _Optional[int] = ..., lease_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., sdk: _Optional[str] = ...) -> None: ...

class RegisterWorkerResponse(_message.Message):
    __slots__ = ("session_id", "lease_time", "heartbeat_interval", "max_wait", "log_credit_bytes")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_TIME_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_FIELD_NUMBER: _ClassVar[int]
    LOG_CREDIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    lease_time: _duration_pb2.Duration
    heartbeat_interval: _duration_pb2.Duration
    max_wait: _duration_pb2.Duration
    log_credit_bytes: int
    def __init__(self, session_id: _Optional[str] = ..., lease_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., log_credit_bytes: _Optional[int] = ...) -> None: ...

class ClaimJobRequest(_message.Message):
    __slots__ = ("session_id", "loop", "sequence", "ack_sequence", "max_jobs", "wait")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACK_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MAX_JOBS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    loop: int
    sequence: int
    ack_sequence: int
    max_jobs: int
    wait: _duration_pb2.Duration
    def __init__(self, session_id: _Optional[str] = ..., loop: _Optional[int] = ..., sequence: _Optional[int] = ..., ack_sequence: _Optional[int] = ..., max_jobs: _Optional[int] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ClaimJobResponse(_message.Message):
    __slots__ = ("jobs", "sequence")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_lease_pb2.LeasedJob]
    sequence: int
    def __init__(self, jobs: _Optional[_Iterable[_Union[_lease_pb2.LeasedJob, _Mapping]]] = ..., sequence: _Optional[int] = ...) -> None: ...

class ReportJobsRequest(_message.Message):
    __slots__ = ("session_id", "heartbeat", "received", "logs", "checkpoints", "progress", "outcomes")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    heartbeat: _report_pb2.Heartbeat
    received: _containers.RepeatedCompositeFieldContainer[_report_pb2.ReceivedReport]
    logs: _containers.RepeatedCompositeFieldContainer[_report_pb2.LogReport]
    checkpoints: _containers.RepeatedCompositeFieldContainer[_report_pb2.CheckpointReport]
    progress: _containers.RepeatedCompositeFieldContainer[_report_pb2.ProgressReport]
    outcomes: _containers.RepeatedCompositeFieldContainer[_report_pb2.OutcomeReport]
    def __init__(self, session_id: _Optional[str] = ..., heartbeat: _Optional[_Union[_report_pb2.Heartbeat, _Mapping]] = ..., received: _Optional[_Iterable[_Union[_report_pb2.ReceivedReport, _Mapping]]] = ..., logs: _Optional[_Iterable[_Union[_report_pb2.LogReport, _Mapping]]] = ..., checkpoints: _Optional[_Iterable[_Union[_report_pb2.CheckpointReport, _Mapping]]] = ..., progress: _Optional[_Iterable[_Union[_report_pb2.ProgressReport, _Mapping]]] = ..., outcomes: _Optional[_Iterable[_Union[_report_pb2.OutcomeReport, _Mapping]]] = ...) -> None: ...

class ReportJobsResponse(_message.Message):
    __slots__ = ("heartbeat", "acks", "log_credit_bytes", "directives", "errors")
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    LOG_CREDIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIRECTIVES_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    heartbeat: _report_pb2.HeartbeatAck
    acks: _containers.RepeatedCompositeFieldContainer[_report_pb2.ReportAck]
    log_credit_bytes: int
    directives: _containers.RepeatedCompositeFieldContainer[_report_pb2.Directive]
    errors: _containers.RepeatedCompositeFieldContainer[_report_pb2.ReportError]
    def __init__(self, heartbeat: _Optional[_Union[_report_pb2.HeartbeatAck, _Mapping]] = ..., acks: _Optional[_Iterable[_Union[_report_pb2.ReportAck, _Mapping]]] = ..., log_credit_bytes: _Optional[int] = ..., directives: _Optional[_Iterable[_Union[_report_pb2.Directive, _Mapping]]] = ..., errors: _Optional[_Iterable[_Union[_report_pb2.ReportError, _Mapping]]] = ...) -> None: ...

class UnregisterWorkerRequest(_message.Message):
    __slots__ = ("session_id", "reason")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    reason: str
    def __init__(self, session_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class UnregisterWorkerResponse(_message.Message):
    __slots__ = ("released_count",)
    RELEASED_COUNT_FIELD_NUMBER: _ClassVar[int]
    released_count: int
    def __init__(self, released_count: _Optional[int] = ...) -> None: ...

class ListWorkersRequest(_message.Message):
    __slots__ = ("command", "queue", "page_size", "page_token")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    command: str
    queue: str
    page_size: int
    page_token: str
    def __init__(self, command: _Optional[str] = ..., queue: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListWorkersResponse(_message.Message):
    __slots__ = ("workers", "next_page_token")
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[_worker_pb2.WorkerProcess]
    next_page_token: str
    def __init__(self, workers: _Optional[_Iterable[_Union[_worker_pb2.WorkerProcess, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DrainWorkerRequest(_message.Message):
    __slots__ = ("instance_id", "name", "reason", "grace")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    name: str
    reason: str
    grace: _duration_pb2.Duration
    def __init__(self, instance_id: _Optional[str] = ..., name: _Optional[str] = ..., reason: _Optional[str] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DrainWorkerResponse(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[_worker_pb2.WorkerProcess]
    def __init__(self, workers: _Optional[_Iterable[_Union[_worker_pb2.WorkerProcess, _Mapping]]] = ...) -> None: ...
