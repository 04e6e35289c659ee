import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HistoryState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HISTORY_STATE_UNSPECIFIED: _ClassVar[HistoryState]
    HISTORY_STATE_OPEN: _ClassVar[HistoryState]
    HISTORY_STATE_CLOSED: _ClassVar[HistoryState]
    HISTORY_STATE_ARCHIVED: _ClassVar[HistoryState]
HISTORY_STATE_UNSPECIFIED: HistoryState
HISTORY_STATE_OPEN: HistoryState
HISTORY_STATE_CLOSED: HistoryState
HISTORY_STATE_ARCHIVED: HistoryState

class HistoryMonth(_message.Message):
    __slots__ = ("month", "state", "completed_count", "failed_count", "cancelled_count", "size_bytes", "last_finish_time", "live_count", "drop_time")
    MONTH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAST_FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    LIVE_COUNT_FIELD_NUMBER: _ClassVar[int]
    DROP_TIME_FIELD_NUMBER: _ClassVar[int]
    month: str
    state: HistoryState
    completed_count: int
    failed_count: int
    cancelled_count: int
    size_bytes: int
    last_finish_time: _timestamp_pb2.Timestamp
    live_count: int
    drop_time: _timestamp_pb2.Timestamp
    def __init__(self, month: _Optional[str] = ..., state: _Optional[_Union[HistoryState, str]] = ..., completed_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., cancelled_count: _Optional[int] = ..., size_bytes: _Optional[int] = ..., last_finish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., live_count: _Optional[int] = ..., drop_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
