import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haulier.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobFilter(_message.Message):
    __slots__ = ("states", "command", "api", "queue", "worker", "priority", "tag", "batch_id", "parent_id", "created_by", "user_id", "args", "reply_to", "recurring_task", "ref_id_prefix", "create_time_from", "create_time_to", "error_code", "text")
    class ArgsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATES_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    RECURRING_TASK_FIELD_NUMBER: _ClassVar[int]
    REF_ID_PREFIX_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FROM_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_TO_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[_job_pb2.JobState]
    command: str
    api: str
    queue: str
    worker: str
    priority: int
    tag: str
    batch_id: str
    parent_id: int
    created_by: str
    user_id: str
    args: _containers.ScalarMap[str, str]
    reply_to: str
    recurring_task: str
    ref_id_prefix: str
    create_time_from: _timestamp_pb2.Timestamp
    create_time_to: _timestamp_pb2.Timestamp
    error_code: str
    text: str
    def __init__(self, states: _Optional[_Iterable[_Union[_job_pb2.JobState, str]]] = ..., command: _Optional[str] = ..., api: _Optional[str] = ..., queue: _Optional[str] = ..., worker: _Optional[str] = ..., priority: _Optional[int] = ..., tag: _Optional[str] = ..., batch_id: _Optional[str] = ..., parent_id: _Optional[int] = ..., created_by: _Optional[str] = ..., user_id: _Optional[str] = ..., args: _Optional[_Mapping[str, str]] = ..., reply_to: _Optional[str] = ..., recurring_task: _Optional[str] = ..., ref_id_prefix: _Optional[str] = ..., create_time_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., create_time_to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error_code: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...
