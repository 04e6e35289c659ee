"""Between the contract's messages and the dataclasses: by field name, from a plan made once for each type."""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ._errors import FieldViolation, InvalidArgumentError
from ._payload import Payload, encode
from .v1 import payload_pb2

T = TypeVar("T")
M = TypeVar("M", bound=Message)
Read = Callable[[Any], Any]


def read(kind: type[T], message: Message) -> T:
    """The dataclass of a message."""
    return cast("T", _reader(cast("Any", kind), message.DESCRIPTOR)(message))


def read_enum(kind: type[T], descriptor: EnumDescriptor, number: int) -> T:
    """The word of an enum's number."""
    return cast("T", _enum_words(cast("Any", kind), descriptor).get(number, getattr(kind, "UNKNOWN", None)))


def write(value: object, message: M, operation: str, path: str = "") -> M:
    """Fills a message from a dataclass: None, and empty lists and mappings, are left out.

    Raises:
        InvalidArgumentError: A field has a type or a value that cannot be sent; `fields` names it.
    """
    for name, put in _writers(cast("Any", type(value)), message.DESCRIPTOR):
        item = getattr(value, name)
        if item is None:
            continue
        try:
            put(message, item, operation, f"{path}{name}")
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _bad_field(f"{path}{name}", f"cannot be {item!r}: {error}", operation) from error
    return message


def duration(value: timedelta) -> Duration:
    """A duration as the contract has it."""
    made = Duration()
    made.FromTimedelta(value)
    return made


def seconds(value: Duration) -> float:
    """A duration of the contract, in seconds."""
    return value.seconds + value.nanos / 1e9


def _bad_field(path: str, description: str, operation: str) -> InvalidArgumentError:
    violation = FieldViolation(field=path, description=description)
    return InvalidArgumentError(f"{path} {description}", operation=operation, reason="INVALID_FIELD", fields=(violation,))


# Reading


@functools.cache
def _reader(kind: Any, descriptor: Descriptor) -> Read:
    hints = typing.get_type_hints(kind)
    fields = descriptor.fields_by_name
    steps = [
        (field.name, _field_reader(hints[field.name], fields[field.name]))
        for field in dataclasses.fields(kind)
        if field.name in fields
    ]

    def read_message(message: Any) -> Any:
        return kind(**{name: step(message) for name, step in steps})

    return read_message


def _field_reader(hint: Any, field: FieldDescriptor) -> Read:
    name = field.name
    inner, optional = _unwrap(hint)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return lambda message: dict(getattr(message, name))
    if field.is_repeated:
        item = _item_reader(typing.get_args(inner)[0], field)
        return lambda message: tuple([item(one) for one in getattr(message, name)])
    item = _item_reader(inner, field)
    if field.message_type is not None:
        if optional:
            return lambda message: item(getattr(message, name)) if message.HasField(name) else None
        return lambda message: item(getattr(message, name))
    if optional and field.has_presence:
        return lambda message: item(getattr(message, name)) if message.HasField(name) else None
    if optional:
        return lambda message: item(getattr(message, name)) if getattr(message, name) else None
    return lambda message: item(getattr(message, name))


def _item_reader(hint: Any, field: FieldDescriptor) -> Read:
    if field.enum_type is not None:
        words = _enum_words(hint, field.enum_type)
        unknown = getattr(hint, "UNKNOWN", None)
        return lambda number: words.get(number, unknown)
    if field.message_type is None:
        return lambda value: value
    full_name = field.message_type.full_name
    if full_name == "google.protobuf.Timestamp":
        return read_time
    if full_name == "google.protobuf.Duration":
        return lambda value: value.ToTimedelta()
    if full_name == "haulier.v1.Payload":
        return read_payload
    return _reader(hint, field.message_type)


def read_time(value: Timestamp) -> datetime:
    """An aware UTC time."""
    return value.ToDatetime(timezone.utc)


def read_payload(payload: payload_pb2.Payload) -> Payload | None:
    """The payload of a message; None for nothing."""
    kind = payload.WhichOneof("kind")
    if kind == "json":
        return Payload(json=payload.json, content_type=payload.content_type)
    if kind == "data":
        return Payload(data=payload.data, content_type=payload.content_type)
    return None


def _unwrap(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        arguments = [one for one in typing.get_args(hint) if one is not type(None)]
        return arguments[0], True
    return hint, hint is Any


# Writing


Put = Callable[[Any, Any, str, str], None]


@functools.cache
def _writers(kind: Any, descriptor: Descriptor) -> tuple[tuple[str, Put], ...]:
    fields = descriptor.fields_by_name
    return tuple((field.name, _field_writer(fields[field.name])) for field in dataclasses.fields(kind) if field.name in fields)


def _field_writer(field: FieldDescriptor) -> Put:
    name = field.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:

        def put_map(message: Any, value: Mapping[str, Any], operation: str, path: str) -> None:
            getattr(message, name).update(value)

        return put_map
    if field.is_repeated:
        return _repeated_writer(field)
    if field.enum_type is not None:
        enum_type = field.enum_type

        def put_enum(message: Any, value: Any, operation: str, path: str) -> None:
            setattr(message, name, _enum_number(enum_type, value))

        return put_enum
    if field.message_type is not None:

        def put_message(message: Any, value: Any, operation: str, path: str) -> None:
            _fill(getattr(message, name), value, operation, path)

        return put_message

    def put_scalar(message: Any, value: Any, operation: str, path: str) -> None:
        setattr(message, name, value)

    return put_scalar


def _repeated_writer(field: FieldDescriptor) -> Put:
    name, enum_type, is_message = field.name, field.enum_type, field.message_type is not None

    def put(message: Any, items: Any, operation: str, path: str) -> None:
        if isinstance(items, str) or not hasattr(items, "__iter__"):
            raise TypeError("needs a sequence")
        if enum_type is not None:
            getattr(message, name).extend(_enum_number(enum_type, item) for item in items)
        elif is_message:
            for index, item in enumerate(items):
                _fill(getattr(message, name).add(), item, operation, f"{path}[{index}]")
        else:
            getattr(message, name).extend(items)

    return put


def _fill(message: Any, value: Any, operation: str, path: str) -> None:
    if isinstance(message, Timestamp):
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise _bad_field(path, "needs a datetime with a time zone, as in datetime.now(timezone.utc)", operation)
        message.FromDatetime(value)
    elif isinstance(message, Duration):
        if not isinstance(value, timedelta):
            raise _bad_field(path, "needs a timedelta", operation)
        message.FromTimedelta(value)
        if not value:
            message.SetInParent()
    elif isinstance(message, payload_pb2.Payload):
        message.CopyFrom(encode(value, operation))
    elif not dataclasses.is_dataclass(value):
        raise TypeError(f"needs the dataclass of {message.DESCRIPTOR.name}")
    else:
        message.SetInParent()
        write(value, message, operation, f"{path}.")


# Enums


def _prefix(descriptor: EnumDescriptor) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", descriptor.name).upper() + "_"


@functools.cache
def _enum_words(kind: Any, descriptor: EnumDescriptor) -> dict[int, Enum]:
    prefix = _prefix(descriptor)
    words: dict[int, Enum] = {}
    for value in descriptor.values:
        word = value.name.removeprefix(prefix).lower()
        if value.number and word in kind._value2member_map_:
            words[value.number] = kind(word)
    return words


def _enum_number(descriptor: EnumDescriptor, value: Any) -> int:
    name = _prefix(descriptor) + str(value.value if isinstance(value, Enum) else value).upper()
    found = descriptor.values_by_name.get(name)
    if found is None or not isinstance(value, str):
        words = [one.name.removeprefix(_prefix(descriptor)).lower() for one in descriptor.values if one.number]
        raise ValueError(f"must be one of {', '.join(words)}")
    return found.number
