import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haulier.v1 import api_call_pb2 as _api_call_pb2
from haulier.v1 import job_pb2 as _job_pb2
from haulier.v1 import options_pb2 as _options_pb2
from haulier.v1 import payload_pb2 as _payload_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeasedJob(_message.Message):
    __slots__ = ("lease", "fencing_token", "job_id", "ref_id", "command", "api", "request", "options", "run", "attempt", "crashes", "timeout", "parents", "user_id", "user_claims", "checkpoint", "checkpoint_sequence", "enqueue_time", "log_sequence", "recurring_task", "strict", "transient", "last_error")
    class UserClaimsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LEASE_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CRASHES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_CLAIMS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ENQUEUE_TIME_FIELD_NUMBER: _ClassVar[int]
    LOG_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECURRING_TASK_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    TRANSIENT_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    lease: str
    fencing_token: int
    job_id: int
    ref_id: str
    command: str
    api: _api_call_pb2.ApiCall
    request: _payload_pb2.Payload
    options: _options_pb2.JobOptions
    run: int
    attempt: int
    crashes: int
    timeout: _duration_pb2.Duration
    parents: _containers.RepeatedCompositeFieldContainer[_job_pb2.ParentResult]
    user_id: str
    user_claims: _containers.ScalarMap[str, str]
    checkpoint: _payload_pb2.Payload
    checkpoint_sequence: int
    enqueue_time: _timestamp_pb2.Timestamp
    log_sequence: int
    recurring_task: str
    strict: bool
    transient: bool
    last_error: _job_pb2.JobError
    def __init__(self, lease: _Optional[str] = ..., fencing_token: _Optional[int] = ..., job_id: _Optional[int] = ..., ref_id: _Optional[str] = ..., command: _Optional[str] = ..., api: _Optional[_Union[_api_call_pb2.ApiCall, _Mapping]] = ..., request: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., options: _Optional[_Union[_options_pb2.JobOptions, _Mapping]] = ..., run: _Optional[int] = ..., attempt: _Optional[int] = ..., crashes: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., parents: _Optional[_Iterable[_Union[_job_pb2.ParentResult, _Mapping]]] = ..., user_id: _Optional[str] = ..., user_claims: _Optional[_Mapping[str, str]] = ..., checkpoint: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., checkpoint_sequence: _Optional[int] = ..., enqueue_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., log_sequence: _Optional[int] = ..., recurring_task: _Optional[str] = ..., strict: bool = ..., transient: bool = ..., last_error: _Optional[_Union[_job_pb2.JobError, _Mapping]] = ...) -> None: ...
