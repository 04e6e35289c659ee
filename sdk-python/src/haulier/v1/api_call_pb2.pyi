from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ApiCall(_message.Message):
    __slots__ = ("target", "grpc_method", "http")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    GRPC_METHOD_FIELD_NUMBER: _ClassVar[int]
    HTTP_FIELD_NUMBER: _ClassVar[int]
    target: str
    grpc_method: str
    http: HttpEndpoint
    def __init__(self, target: _Optional[str] = ..., grpc_method: _Optional[str] = ..., http: _Optional[_Union[HttpEndpoint, _Mapping]] = ...) -> None: ...

class HttpEndpoint(_message.Message):
    __slots__ = ("method", "path")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    method: str
    path: str
    def __init__(self, method: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...
