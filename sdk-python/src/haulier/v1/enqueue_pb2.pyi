from haulier.v1 import api_call_pb2 as _api_call_pb2
from haulier.v1 import job_pb2 as _job_pb2
from haulier.v1 import options_pb2 as _options_pb2
from haulier.v1 import payload_pb2 as _payload_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnqueueItem(_message.Message):
    __slots__ = ("local_key", "command", "api")
    LOCAL_KEY_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    local_key: str
    command: EnqueueCommandItem
    api: EnqueueApiItem
    def __init__(self, local_key: _Optional[str] = ..., command: _Optional[_Union[EnqueueCommandItem, _Mapping]] = ..., api: _Optional[_Union[EnqueueApiItem, _Mapping]] = ...) -> None: ...

class EnqueueCommandItem(_message.Message):
    __slots__ = ("command", "request", "options")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    command: str
    request: _payload_pb2.Payload
    options: _options_pb2.JobOptions
    def __init__(self, command: _Optional[str] = ..., request: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., options: _Optional[_Union[_options_pb2.JobOptions, _Mapping]] = ...) -> None: ...

class EnqueueApiItem(_message.Message):
    __slots__ = ("api", "request", "options")
    API_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    api: _api_call_pb2.ApiCall
    request: _payload_pb2.Payload
    options: _options_pb2.JobOptions
    def __init__(self, api: _Optional[_Union[_api_call_pb2.ApiCall, _Mapping]] = ..., request: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., options: _Optional[_Union[_options_pb2.JobOptions, _Mapping]] = ...) -> None: ...

class EnqueuedJob(_message.Message):
    __slots__ = ("local_key", "job_id", "ref_id", "created", "state")
    LOCAL_KEY_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    local_key: str
    job_id: int
    ref_id: str
    created: bool
    state: _job_pb2.JobState
    def __init__(self, local_key: _Optional[str] = ..., job_id: _Optional[int] = ..., ref_id: _Optional[str] = ..., created: bool = ..., state: _Optional[_Union[_job_pb2.JobState, str]] = ...) -> None: ...
