from haulier.v1 import attempt_pb2 as _attempt_pb2
from haulier.v1 import command_pb2 as _command_pb2
from haulier.v1 import history_pb2 as _history_pb2
from haulier.v1 import job_pb2 as _job_pb2
from haulier.v1 import log_pb2 as _log_pb2
from haulier.v1 import overview_pb2 as _overview_pb2
from haulier.v1 import server_pb2 as _server_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetOverviewRequest(_message.Message):
    __slots__ = ("hours",)
    HOURS_FIELD_NUMBER: _ClassVar[int]
    hours: int
    def __init__(self, hours: _Optional[int] = ...) -> None: ...

class GetOverviewResponse(_message.Message):
    __slots__ = ("overview",)
    OVERVIEW_FIELD_NUMBER: _ClassVar[int]
    overview: _overview_pb2.Overview
    def __init__(self, overview: _Optional[_Union[_overview_pb2.Overview, _Mapping]] = ...) -> None: ...

class ListCommandsRequest(_message.Message):
    __slots__ = ("name_prefix", "page_size", "page_token")
    NAME_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    name_prefix: str
    page_size: int
    page_token: str
    def __init__(self, name_prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCommandsResponse(_message.Message):
    __slots__ = ("commands", "next_page_token")
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    commands: _containers.RepeatedCompositeFieldContainer[_command_pb2.Command]
    next_page_token: str
    def __init__(self, commands: _Optional[_Iterable[_Union[_command_pb2.Command, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListServersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListServersResponse(_message.Message):
    __slots__ = ("servers", "next_page_token")
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    servers: _containers.RepeatedCompositeFieldContainer[_server_pb2.Server]
    next_page_token: str
    def __init__(self, servers: _Optional[_Iterable[_Union[_server_pb2.Server, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListHistoryMonthsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListHistoryMonthsResponse(_message.Message):
    __slots__ = ("months", "next_page_token")
    MONTHS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    months: _containers.RepeatedCompositeFieldContainer[_history_pb2.HistoryMonth]
    next_page_token: str
    def __init__(self, months: _Optional[_Iterable[_Union[_history_pb2.HistoryMonth, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ExportHistoryMonthRequest(_message.Message):
    __slots__ = ("month", "include_attempts", "include_logs", "resume_token")
    MONTH_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_LOGS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    month: str
    include_attempts: bool
    include_logs: bool
    resume_token: str
    def __init__(self, month: _Optional[str] = ..., include_attempts: bool = ..., include_logs: bool = ..., resume_token: _Optional[str] = ...) -> None: ...

class ExportHistoryMonthResponse(_message.Message):
    __slots__ = ("resume_token", "job_id", "job", "attempt", "log_line")
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LOG_LINE_FIELD_NUMBER: _ClassVar[int]
    resume_token: str
    job_id: int
    job: _job_pb2.JobResult
    attempt: _attempt_pb2.JobAttempt
    log_line: _log_pb2.LogLine
    def __init__(self, resume_token: _Optional[str] = ..., job_id: _Optional[int] = ..., job: _Optional[_Union[_job_pb2.JobResult, _Mapping]] = ..., attempt: _Optional[_Union[_attempt_pb2.JobAttempt, _Mapping]] = ..., log_line: _Optional[_Union[_log_pb2.LogLine, _Mapping]] = ...) -> None: ...

class DropHistoryMonthRequest(_message.Message):
    __slots__ = ("month", "validate_only")
    MONTH_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    month: str
    validate_only: bool
    def __init__(self, month: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class DropHistoryMonthResponse(_message.Message):
    __slots__ = ("month",)
    MONTH_FIELD_NUMBER: _ClassVar[int]
    month: _history_pb2.HistoryMonth
    def __init__(self, month: _Optional[_Union[_history_pb2.HistoryMonth, _Mapping]] = ...) -> None: ...
