import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haulier.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Overview(_message.Message):
    __slots__ = ("time", "counts", "hours", "waits", "commands", "named_workers", "worker_processes", "worker_count", "slot_count", "pending_delivery_count", "recurring_task_count", "paused_queues", "server_version")
    TIME_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    NAMED_WORKERS_FIELD_NUMBER: _ClassVar[int]
    WORKER_PROCESSES_FIELD_NUMBER: _ClassVar[int]
    WORKER_COUNT_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    PENDING_DELIVERY_COUNT_FIELD_NUMBER: _ClassVar[int]
    RECURRING_TASK_COUNT_FIELD_NUMBER: _ClassVar[int]
    PAUSED_QUEUES_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    counts: _job_pb2.JobCounts
    hours: _containers.RepeatedCompositeFieldContainer[HourStats]
    waits: WaitStats
    commands: _containers.RepeatedCompositeFieldContainer[CommandStats]
    named_workers: _containers.RepeatedCompositeFieldContainer[NamedWorkerStats]
    worker_processes: _containers.RepeatedCompositeFieldContainer[WorkerProcessStats]
    worker_count: int
    slot_count: int
    pending_delivery_count: int
    recurring_task_count: int
    paused_queues: _containers.RepeatedScalarFieldContainer[str]
    server_version: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., counts: _Optional[_Union[_job_pb2.JobCounts, _Mapping]] = ..., hours: _Optional[_Iterable[_Union[HourStats, _Mapping]]] = ..., waits: _Optional[_Union[WaitStats, _Mapping]] = ..., commands: _Optional[_Iterable[_Union[CommandStats, _Mapping]]] = ..., named_workers: _Optional[_Iterable[_Union[NamedWorkerStats, _Mapping]]] = ..., worker_processes: _Optional[_Iterable[_Union[WorkerProcessStats, _Mapping]]] = ..., worker_count: _Optional[int] = ..., slot_count: _Optional[int] = ..., pending_delivery_count: _Optional[int] = ..., recurring_task_count: _Optional[int] = ..., paused_queues: _Optional[_Iterable[str]] = ..., server_version: _Optional[str] = ...) -> None: ...

class HourStats(_message.Message):
    __slots__ = ("start_time", "enqueued", "completed", "failed", "cancelled")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    ENQUEUED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    enqueued: int
    completed: int
    failed: int
    cancelled: int
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., enqueued: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ...) -> None: ...

class WaitStats(_message.Message):
    __slots__ = ("median", "p95", "oldest")
    MEDIAN_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    median: _duration_pb2.Duration
    p95: _duration_pb2.Duration
    oldest: _duration_pb2.Duration
    def __init__(self, median: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., p95: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., oldest: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CommandStats(_message.Message):
    __slots__ = ("command", "waiting", "running", "completed", "failed", "cancelled", "retries", "mean_duration")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    MEAN_DURATION_FIELD_NUMBER: _ClassVar[int]
    command: str
    waiting: int
    running: int
    completed: int
    failed: int
    cancelled: int
    retries: int
    mean_duration: _duration_pb2.Duration
    def __init__(self, command: _Optional[str] = ..., waiting: _Optional[int] = ..., running: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ..., retries: _Optional[int] = ..., mean_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class NamedWorkerStats(_message.Message):
    __slots__ = ("worker", "waiting", "running_job_id", "completed", "failed")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    worker: str
    waiting: int
    running_job_id: int
    completed: int
    failed: int
    def __init__(self, worker: _Optional[str] = ..., waiting: _Optional[int] = ..., running_job_id: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ...) -> None: ...

class WorkerProcessStats(_message.Message):
    __slots__ = ("name", "instance_id", "running", "slots", "completed", "failed")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    name: str
    instance_id: str
    running: int
    slots: int
    completed: int
    failed: int
    def __init__(self, name: _Optional[str] = ..., instance_id: _Optional[str] = ..., running: _Optional[int] = ..., slots: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ...) -> None: ...
