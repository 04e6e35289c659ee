import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haulier.v1 import recurring_task_pb2 as _recurring_task_pb2
from haulier.v1 import schedule_pb2 as _schedule_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PutResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PUT_RESULT_UNSPECIFIED: _ClassVar[PutResult]
    PUT_RESULT_CREATED: _ClassVar[PutResult]
    PUT_RESULT_UPDATED: _ClassVar[PutResult]
    PUT_RESULT_UNCHANGED: _ClassVar[PutResult]
PUT_RESULT_UNSPECIFIED: PutResult
PUT_RESULT_CREATED: PutResult
PUT_RESULT_UPDATED: PutResult
PUT_RESULT_UNCHANGED: PutResult

class PutRecurringTaskRequest(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: _recurring_task_pb2.RecurringTask
    def __init__(self, task: _Optional[_Union[_recurring_task_pb2.RecurringTask, _Mapping]] = ...) -> None: ...

class PutRecurringTaskResponse(_message.Message):
    __slots__ = ("task", "result")
    TASK_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    task: _recurring_task_pb2.RecurringTask
    result: PutResult
    def __init__(self, task: _Optional[_Union[_recurring_task_pb2.RecurringTask, _Mapping]] = ..., result: _Optional[_Union[PutResult, str]] = ...) -> None: ...

class GetRecurringTaskRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetRecurringTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: _recurring_task_pb2.RecurringTask
    def __init__(self, task: _Optional[_Union[_recurring_task_pb2.RecurringTask, _Mapping]] = ...) -> None: ...

class ListRecurringTasksRequest(_message.Message):
    __slots__ = ("name_prefix", "command", "page_size", "page_token", "paused", "enabled")
    NAME_PREFIX_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    name_prefix: str
    command: str
    page_size: int
    page_token: str
    paused: bool
    enabled: bool
    def __init__(self, name_prefix: _Optional[str] = ..., command: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., paused: bool = ..., enabled: bool = ...) -> None: ...

class ListRecurringTasksResponse(_message.Message):
    __slots__ = ("tasks", "next_page_token")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_recurring_task_pb2.RecurringTask]
    next_page_token: str
    def __init__(self, tasks: _Optional[_Iterable[_Union[_recurring_task_pb2.RecurringTask, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteRecurringTaskRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteRecurringTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: _recurring_task_pb2.RecurringTask
    def __init__(self, task: _Optional[_Union[_recurring_task_pb2.RecurringTask, _Mapping]] = ...) -> None: ...

class PauseRecurringTaskRequest(_message.Message):
    __slots__ = ("name", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class PauseRecurringTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: _recurring_task_pb2.RecurringTask
    def __init__(self, task: _Optional[_Union[_recurring_task_pb2.RecurringTask, _Mapping]] = ...) -> None: ...

class ResumeRecurringTaskRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ResumeRecurringTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: _recurring_task_pb2.RecurringTask
    def __init__(self, task: _Optional[_Union[_recurring_task_pb2.RecurringTask, _Mapping]] = ...) -> None: ...

class TriggerRecurringTaskRequest(_message.Message):
    __slots__ = ("name", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class TriggerRecurringTaskResponse(_message.Message):
    __slots__ = ("job_id", "ref_id", "created")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    ref_id: str
    created: bool
    def __init__(self, job_id: _Optional[int] = ..., ref_id: _Optional[str] = ..., created: bool = ...) -> None: ...

class PreviewScheduleRequest(_message.Message):
    __slots__ = ("schedule", "count", "after_time", "end_time")
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    AFTER_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    schedule: _schedule_pb2.Schedule
    count: int
    after_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, schedule: _Optional[_Union[_schedule_pb2.Schedule, _Mapping]] = ..., count: _Optional[int] = ..., after_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PreviewScheduleResponse(_message.Message):
    __slots__ = ("times", "local_times")
    TIMES_FIELD_NUMBER: _ClassVar[int]
    LOCAL_TIMES_FIELD_NUMBER: _ClassVar[int]
    times: _containers.RepeatedCompositeFieldContainer[_timestamp_pb2.Timestamp]
    local_times: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, times: _Optional[_Iterable[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]]] = ..., local_times: _Optional[_Iterable[str]] = ...) -> None: ...
