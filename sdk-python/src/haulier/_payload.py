"""Values in and out: any JSON value, raw bytes or nothing, and the types that are read from them."""

from __future__ import annotations

import base64
import binascii
import collections.abc
import dataclasses
import enum
import functools
import json as json_codec
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeVar, cast
from uuid import UUID

from google.protobuf import json_format
from google.protobuf.message import Message

from . import _limits as limits
from ._errors import PayloadError, UnreadableRequestError
from .v1 import payload_pb2

__all__ = ["Payload", "convert", "converter", "encode", "is_model"]

T = TypeVar("T")
_MISSING = dataclasses.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A request, a result or a checkpoint as it is stored: JSON text or raw bytes."""

    json: str | None = None
    """JSON text."""
    data: bytes | None = None
    """Raw bytes."""
    content_type: str = ""
    """Media type. Default: `application/json` or `application/octet-stream`."""

    @property
    def value(self) -> Any:
        """The JSON value, or the bytes."""
        return json_codec.loads(self.json) if self.json is not None else self.data

    def read(self, kind: type[T]) -> T:
        """The content as a type: a dataclass, a pydantic or msgspec model, or a plain type.

        Raises:
            UnreadableRequestError: The content does not have that form.
        """
        return convert(self.value, kind, "payload")


def decode(payload: payload_pb2.Payload) -> Any:
    """The value of a payload; None for an empty one."""
    if text := payload.json:
        # As `json.loads`, without its search for white space where there is none.
        try:
            value, end = _scan(text, 0)
        except StopIteration:
            return json_codec.loads(text)
        return value if end == len(text) else json_codec.loads(text)
    kind = payload.WhichOneof("kind")
    if kind == "json":
        return json_codec.loads(payload.json)
    if kind == "data":
        return payload.data
    if kind == "value":
        return json_format.MessageToDict(payload.value)
    return None


def encode(value: object, operation: str = "encode") -> payload_pb2.Payload:
    """The payload of a value: None is nothing, bytes stay bytes, everything else becomes JSON.

    Raises:
        PayloadError: The value has no JSON form, or is larger than 3 MiB.
    """
    if value is None:
        return payload_pb2.Payload()
    if isinstance(value, Payload):
        if value.json is not None:
            made = payload_pb2.Payload(json=value.json, content_type=value.content_type)
        elif value.data is not None:
            made = payload_pb2.Payload(data=value.data, content_type=value.content_type)
        else:
            made = payload_pb2.Payload()
    elif isinstance(value, bytes | bytearray):
        made = payload_pb2.Payload(data=bytes(value))
    elif isinstance(value, Message):
        made = payload_pb2.Payload(json=json_format.MessageToJson(value, indent=None))
    else:
        try:
            text = _dumps(value)
            made = payload_pb2.Payload(json=text)
        except (TypeError, ValueError, RecursionError) as error:
            raise PayloadError(
                f"a value of type {type(value).__name__} has no JSON form: {error}", operation=operation
            ) from error
        if len(text) * 4 < limits.PAYLOAD_BYTES_MAX - 64:
            return made  # short enough in any case; to ask for its size is to encode it once more
    size = made.ByteSize()
    if size > limits.PAYLOAD_BYTES_MAX:
        raise PayloadError(
            f"the value has {size} bytes, at most {limits.PAYLOAD_BYTES_MAX} can be sent; store it elsewhere and send where",
            operation=operation,
        )
    return made


def _plain(value: Any) -> Any:
    """What JSON knows in place of a value that it does not know."""
    kind = cast("Any", type(value))
    if dataclasses.is_dataclass(kind):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(kind)}
    if _is_pydantic(kind):
        return value.model_dump(mode="json")
    if _is_msgspec(kind):
        import msgspec

        return msgspec.to_builtins(value)
    for known, plain in _PLAIN_FORMS:
        if isinstance(value, known):
            return plain(value)
    raise TypeError(f"{kind.__module__}.{kind.__qualname__} is not one of the types that can be sent")


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode()


_PLAIN_FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (enum.Enum, lambda value: value.value),
    ((datetime, date, time), lambda value: value.isoformat()),
    (timedelta, timedelta.total_seconds),
    ((UUID, Decimal), str),
    ((bytes, bytearray), _base64),
    (collections.abc.Mapping, dict),
    ((collections.abc.Set, collections.abc.ValuesView), list),
    (Message, json_format.MessageToDict),
)


_dumps: Callable[[object], str] = json_codec.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
).encode

_scan: Callable[[str, int], tuple[Any, int]] = cast("Any", json_codec.JSONDecoder()).scan_once


def _is_pydantic(kind: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def _is_msgspec(kind: Any) -> bool:
    msgspec = sys.modules.get("msgspec")
    return msgspec is not None and isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def is_model(kind: Any) -> bool:
    """Whether a type stands for a whole request: a dataclass, a pydantic or msgspec model, or a TypedDict."""
    return isinstance(kind, type) and (
        dataclasses.is_dataclass(kind) or _is_pydantic(kind) or _is_msgspec(kind) or _is_typed_dict(kind)
    )


def _is_typed_dict(kind: Any) -> bool:
    return isinstance(kind, type) and dict in kind.__bases__ and "__total__" in vars(kind)


def json_schema(kind: Any) -> str | None:
    """JSON Schema of a model, where its library can tell it."""
    try:
        if _is_pydantic(kind):
            return json_codec.dumps(kind.model_json_schema())
        if _is_msgspec(kind):
            import msgspec

            return json_codec.dumps(msgspec.json.schema(kind))
    except Exception:  # a schema is a courtesy
        return None
    return None


def convert(value: Any, kind: type[T], path: str) -> T:
    """The value as a type.

    Args:
        value: What was decoded from JSON.
        kind: A dataclass, a pydantic or msgspec model, a TypedDict, or a plain type from `typing`.
        path: Where the value stands, for the error.

    Raises:
        UnreadableRequestError: The value does not have that form; the message names the path.
    """
    return cast("T", _convert(value, kind, path))


def converter(kind: Any) -> Callable[[Any, str], Any]:
    """`convert` to one type, for those who read many values of it."""
    return _PLAIN.get(kind) or functools.partial(_convert_to, kind)


def _convert_to(kind: Any, value: Any, path: str) -> Any:
    return _convert(value, kind, path)


def _unreadable(path: str, wanted: str, value: Any) -> UnreadableRequestError:
    shown = "nothing" if value is None else f"{type(value).__name__}"
    return UnreadableRequestError(f"{path}: needs {wanted}, got {shown}")


def _convert(value: Any, kind: Any, path: str) -> Any:
    if kind is Any or kind is object or isinstance(kind, TypeVar):
        return value
    if kind is None or kind is type(None):
        if value is not None:
            raise _unreadable(path, "nothing", value)
        return None
    plain = _PLAIN.get(kind)
    if plain is not None:
        return plain(value, path)
    origin = typing.get_origin(kind)
    if origin is not None:
        return _convert_generic(value, kind, origin, path)
    if isinstance(kind, type):
        return _convert_class(value, cast("type[Any]", kind), path)
    supertype = getattr(kind, "__supertype__", None)
    return value if supertype is None else _convert(value, supertype, path)


def _convert_class(value: Any, kind: type[Any], path: str) -> Any:
    if _is_pydantic(kind):
        try:
            return cast("Any", kind).model_validate(value)
        except ValueError as error:
            raise UnreadableRequestError(f"{path}: {error}") from error
    if _is_msgspec(kind):
        import msgspec

        try:
            return msgspec.convert(value, kind)
        except (msgspec.ValidationError, ValueError) as error:
            raise UnreadableRequestError(f"{path}: {error}") from error
    if _is_typed_dict(kind):
        return _convert_typed_dict(value, kind, path)
    if isinstance(value, kind):
        return value
    if dataclasses.is_dataclass(kind):
        return _convert_dataclass(value, kind, path)
    if issubclass(kind, enum.Enum):
        try:
            return kind(value)
        except ValueError as error:
            raise UnreadableRequestError(f"{path}: {value!r} is not one of {[one.value for one in kind]}") from error
    if issubclass(kind, Message):
        try:
            return json_format.ParseDict(value, kind())
        except (json_format.ParseError, TypeError) as error:
            raise UnreadableRequestError(f"{path}: {error}") from error
    if kind is Payload:
        return Payload(json=_dumps(value))
    raise _unreadable(path, kind.__name__, value)


def _convert_dataclass(value: Any, kind: type[Any], path: str) -> Any:
    fields = _fields(cast("Any", kind))
    given = _object(value, f"an object with {', '.join(name for name, *_ in fields) or 'no fields'}", path)
    known: dict[str, Any] = {}
    for name, hint, required in fields:
        if name in given:
            known[name] = _convert(given[name], hint, f"{path}.{name}")
        elif required:
            raise UnreadableRequestError(f"{path}: {name} is missing")
    try:
        return kind(**known)
    except (TypeError, ValueError) as error:
        raise UnreadableRequestError(f"{path}: {error}") from error


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    try:
        hints = typing.get_type_hints(kind)
    except NameError:  # names that are only known where the class was made: those fields are taken as they are
        hints = {field.name: Any if isinstance(field.type, str) else field.type for field in dataclasses.fields(kind)}
    return tuple(
        (field.name, hints[field.name], field.default is _MISSING and field.default_factory is _MISSING)
        for field in dataclasses.fields(kind)
        if field.init
    )


def _convert_typed_dict(value: Any, kind: type[Any], path: str) -> Any:
    given = _object(value, "an object", path)
    hints = typing.get_type_hints(kind)
    required: frozenset[str] = getattr(kind, "__required_keys__", frozenset[str]())
    for name in required:
        if name not in given:
            raise UnreadableRequestError(f"{path}: {name} is missing")
    return {name: _convert(item, hints[name], f"{path}.{name}") if name in hints else item for name, item in given.items()}


def _object(value: Any, wanted: str, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unreadable(path, wanted, value)
    return cast("dict[str, Any]", value)


def _convert_generic(value: Any, kind: Any, origin: Any, path: str) -> Any:
    arguments = typing.get_args(kind)
    if origin is typing.Annotated:
        return _convert(value, arguments[0], path)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise UnreadableRequestError(f"{path}: {value!r} is not one of {list(arguments)}")
    if origin is typing.Union or origin is types.UnionType:
        return _convert_union(value, arguments, path)
    if origin is tuple:
        items = _list(value, path)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(item, arguments[0], f"{path}[{index}]") for index, item in enumerate(items))
        if len(items) != len(arguments):
            raise UnreadableRequestError(f"{path}: needs {len(arguments)} items, got {len(items)}")
        pairs = zip(items, arguments, strict=True)
        return tuple(_convert(item, hint, f"{path}[{index}]") for index, (item, hint) in enumerate(pairs))
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        hint = arguments[1] if len(arguments) == 2 else Any
        given = _object(value, "an object", path)
        return {name: _convert(item, hint, f"{path}.{name}") for name, item in given.items()}
    if isinstance(origin, type) and issubclass(origin, collections.abc.Collection | collections.abc.Iterable):
        made = [_convert(item, arguments[0], f"{path}[{index}]") for index, item in enumerate(_list(value, path))]
        if issubclass(origin, frozenset):
            return frozenset(made)
        return set(made) if issubclass(origin, collections.abc.Set) else made
    return _convert(value, origin, path)


def _convert_union(value: Any, arguments: tuple[Any, ...], path: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    errors: list[str] = []
    for hint in sorted(arguments, key=lambda hint: hint is not type(value)):
        try:
            return _convert(value, hint, path)
        except UnreadableRequestError as error:
            errors.append(error.message)
    raise UnreadableRequestError("; or ".join(errors))


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise _unreadable(path, "a list", value)
    return list(cast("list[Any]", value))


def _number(value: Any, path: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise _unreadable(path, "a number", value)


def _integer(value: Any, path: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise _unreadable(path, "an integer", value)


def _bytes(value: Any, path: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise UnreadableRequestError(f"{path}: is not base64: {error}") from error
    raise _unreadable(path, "bytes, or text in base64", value)


def _duration(value: Any, path: str) -> timedelta:
    try:
        return timedelta(seconds=_number(value, path))
    except OverflowError as error:
        raise UnreadableRequestError(f"{path}: {value} seconds are too many") from error


def _exactly(kind: type[Any], wanted: str) -> Callable[[Any, str], Any]:
    def read(value: Any, path: str) -> Any:
        if isinstance(value, kind):
            return value
        raise _unreadable(path, wanted, value)

    return read


def _parsed(kind: type[Any], parse: Callable[[str], Any], wanted: str) -> Callable[[Any, str], Any]:
    def read(value: Any, path: str) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise _unreadable(path, f"text with {wanted}", value)
        try:
            return parse(value)
        except (ValueError, ArithmeticError) as error:
            raise UnreadableRequestError(f"{path}: {value!r} is not {wanted}") from error

    return read


def _decimal(value: Any, path: str) -> Decimal:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(str(value))
    return cast("Decimal", _parsed(Decimal, Decimal, "a decimal number")(value, path))


def _iso_datetime(text: str) -> datetime:
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)


_PLAIN: dict[Any, Callable[[Any, str], Any]] = {
    str: _exactly(str, "text"),
    int: _integer,
    float: _number,
    bool: _exactly(bool, "true or false"),
    bytes: _bytes,
    list: _exactly(list, "a list"),
    dict: _exactly(dict, "an object"),
    tuple: lambda value, path: tuple(_list(value, path)),
    datetime: _parsed(datetime, _iso_datetime, "a date and time in ISO 8601"),
    date: _parsed(date, date.fromisoformat, "a date in ISO 8601"),
    time: _parsed(time, time.fromisoformat, "a time in ISO 8601"),
    timedelta: _duration,
    Decimal: _decimal,
    UUID: _parsed(UUID, UUID, "a UUID"),
}
