import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RefIdPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REF_ID_POLICY_UNSPECIFIED: _ClassVar[RefIdPolicy]
    REF_ID_POLICY_FAIL: _ClassVar[RefIdPolicy]
    REF_ID_POLICY_RETURN_EXISTING: _ClassVar[RefIdPolicy]

class WorkerOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKER_ORDER_UNSPECIFIED: _ClassVar[WorkerOrder]
    WORKER_ORDER_STRICT: _ClassVar[WorkerOrder]
    WORKER_ORDER_RELAXED: _ClassVar[WorkerOrder]

class PriorityName(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_NAME_UNSPECIFIED: _ClassVar[PriorityName]
    PRIORITY_NAME_LOW: _ClassVar[PriorityName]
    PRIORITY_NAME_BELOW_NORMAL: _ClassVar[PriorityName]
    PRIORITY_NAME_NORMAL: _ClassVar[PriorityName]
    PRIORITY_NAME_ABOVE_NORMAL: _ClassVar[PriorityName]
    PRIORITY_NAME_HIGH: _ClassVar[PriorityName]

class Backoff(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BACKOFF_UNSPECIFIED: _ClassVar[Backoff]
    BACKOFF_FIXED: _ClassVar[Backoff]
    BACKOFF_LINEAR: _ClassVar[Backoff]
    BACKOFF_EXPONENTIAL: _ClassVar[Backoff]
    BACKOFF_EXPONENTIAL_JITTER: _ClassVar[Backoff]

class DependencyCondition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEPENDENCY_CONDITION_UNSPECIFIED: _ClassVar[DependencyCondition]
    DEPENDENCY_CONDITION_SUCCESS: _ClassVar[DependencyCondition]
    DEPENDENCY_CONDITION_FINISHED: _ClassVar[DependencyCondition]
    DEPENDENCY_CONDITION_FAILURE: _ClassVar[DependencyCondition]

class ReplyMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPLY_MODE_UNSPECIFIED: _ClassVar[ReplyMode]
    REPLY_MODE_DELIVER: _ClassVar[ReplyMode]
    REPLY_MODE_CARRY: _ClassVar[ReplyMode]

class ReplyBody(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPLY_BODY_UNSPECIFIED: _ClassVar[ReplyBody]
    REPLY_BODY_RESULT: _ClassVar[ReplyBody]
    REPLY_BODY_ENVELOPE: _ClassVar[ReplyBody]
REF_ID_POLICY_UNSPECIFIED: RefIdPolicy
REF_ID_POLICY_FAIL: RefIdPolicy
REF_ID_POLICY_RETURN_EXISTING: RefIdPolicy
WORKER_ORDER_UNSPECIFIED: WorkerOrder
WORKER_ORDER_STRICT: WorkerOrder
WORKER_ORDER_RELAXED: WorkerOrder
PRIORITY_NAME_UNSPECIFIED: PriorityName
PRIORITY_NAME_LOW: PriorityName
PRIORITY_NAME_BELOW_NORMAL: PriorityName
PRIORITY_NAME_NORMAL: PriorityName
PRIORITY_NAME_ABOVE_NORMAL: PriorityName
PRIORITY_NAME_HIGH: PriorityName
BACKOFF_UNSPECIFIED: Backoff
BACKOFF_FIXED: Backoff
BACKOFF_LINEAR: Backoff
BACKOFF_EXPONENTIAL: Backoff
BACKOFF_EXPONENTIAL_JITTER: Backoff
DEPENDENCY_CONDITION_UNSPECIFIED: DependencyCondition
DEPENDENCY_CONDITION_SUCCESS: DependencyCondition
DEPENDENCY_CONDITION_FINISHED: DependencyCondition
DEPENDENCY_CONDITION_FAILURE: DependencyCondition
REPLY_MODE_UNSPECIFIED: ReplyMode
REPLY_MODE_DELIVER: ReplyMode
REPLY_MODE_CARRY: ReplyMode
REPLY_BODY_UNSPECIFIED: ReplyBody
REPLY_BODY_RESULT: ReplyBody
REPLY_BODY_ENVELOPE: ReplyBody

class JobOptions(_message.Message):
    __slots__ = ("ref_id", "ref_id_policy", "queue", "worker", "worker_order", "priority", "priority_name", "run_after", "delay", "expire_time", "timeout", "retry_policy", "depends_on", "strict", "callback", "reply_to", "reply_mode", "reply_body", "reply_on_success_only", "tag", "batch_id", "parent_id", "user_id", "user_claims", "created_by", "args", "traceparent", "tracestate")
    class UserClaimsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ArgsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_POLICY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    WORKER_ORDER_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_NAME_FIELD_NUMBER: _ClassVar[int]
    RUN_AFTER_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    CALLBACK_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    REPLY_MODE_FIELD_NUMBER: _ClassVar[int]
    REPLY_BODY_FIELD_NUMBER: _ClassVar[int]
    REPLY_ON_SUCCESS_ONLY_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_CLAIMS_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    ref_id: str
    ref_id_policy: RefIdPolicy
    queue: str
    worker: str
    worker_order: WorkerOrder
    priority: int
    priority_name: PriorityName
    run_after: _timestamp_pb2.Timestamp
    delay: _duration_pb2.Duration
    expire_time: _timestamp_pb2.Timestamp
    timeout: _duration_pb2.Duration
    retry_policy: RetryPolicy
    depends_on: _containers.RepeatedCompositeFieldContainer[Dependency]
    strict: bool
    callback: Callback
    reply_to: str
    reply_mode: ReplyMode
    reply_body: ReplyBody
    reply_on_success_only: bool
    tag: str
    batch_id: str
    parent_id: int
    user_id: str
    user_claims: _containers.ScalarMap[str, str]
    created_by: str
    args: _containers.ScalarMap[str, str]
    traceparent: str
    tracestate: str
    def __init__(self, ref_id: _Optional[str] = ..., ref_id_policy: _Optional[_Union[RefIdPolicy, str]] = ..., queue: _Optional[str] = ..., worker: _Optional[str] = ..., worker_order: _Optional[_Union[WorkerOrder, str]] = ..., priority: _Optional[int] = ..., priority_name: _Optional[_Union[PriorityName, str]] = ..., run_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retry_policy: _Optional[_Union[RetryPolicy, _Mapping]] = ..., depends_on: _Optional[_Iterable[_Union[Dependency, _Mapping]]] = ..., strict: bool = ..., callback: _Optional[_Union[Callback, _Mapping]] = ..., reply_to: _Optional[str] = ..., reply_mode: _Optional[_Union[ReplyMode, str]] = ..., reply_body: _Optional[_Union[ReplyBody, str]] = ..., reply_on_success_only: bool = ..., tag: _Optional[str] = ..., batch_id: _Optional[str] = ..., parent_id: _Optional[int] = ..., user_id: _Optional[str] = ..., user_claims: _Optional[_Mapping[str, str]] = ..., created_by: _Optional[str] = ..., args: _Optional[_Mapping[str, str]] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("profile", "retry_limit", "crash_limit", "backoff", "first_delay", "factor", "max_delay", "give_up_after")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    RETRY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    CRASH_LIMIT_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_FIELD_NUMBER: _ClassVar[int]
    FIRST_DELAY_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    MAX_DELAY_FIELD_NUMBER: _ClassVar[int]
    GIVE_UP_AFTER_FIELD_NUMBER: _ClassVar[int]
    profile: str
    retry_limit: int
    crash_limit: int
    backoff: Backoff
    first_delay: _duration_pb2.Duration
    factor: float
    max_delay: _duration_pb2.Duration
    give_up_after: _duration_pb2.Duration
    def __init__(self, profile: _Optional[str] = ..., retry_limit: _Optional[int] = ..., crash_limit: _Optional[int] = ..., backoff: _Optional[_Union[Backoff, str]] = ..., first_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., factor: _Optional[float] = ..., max_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., give_up_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Dependency(_message.Message):
    __slots__ = ("job_id", "ref_id", "local_key", "condition")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REF_ID_FIELD_NUMBER: _ClassVar[int]
    LOCAL_KEY_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    ref_id: str
    local_key: str
    condition: DependencyCondition
    def __init__(self, job_id: _Optional[int] = ..., ref_id: _Optional[str] = ..., local_key: _Optional[str] = ..., condition: _Optional[_Union[DependencyCondition, str]] = ...) -> None: ...

class Callback(_message.Message):
    __slots__ = ("command", "args")
    class ArgsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    command: str
    args: _containers.ScalarMap[str, str]
    def __init__(self, command: _Optional[str] = ..., args: _Optional[_Mapping[str, str]] = ...) -> None: ...
