"""Values in and out."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from google.protobuf.struct_pb2 import Struct

from haulier import Payload, PayloadError, UnreadableRequestError
from haulier._payload import convert, decode, encode


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Size:
    width: int
    height: int = 10


@dataclass
class Order:
    id: UUID
    when: datetime
    sizes: list[Size]
    colour: Colour | None = None
    tags: dict[str, int] = dataclasses.field(default_factory=dict)


class Model(pydantic.BaseModel):
    name: str
    count: int = 1


class Fast(msgspec.Struct):
    name: str


class Typed(TypedDict):
    a: int


class Pair(NamedTuple):
    x: int
    y: int


UUID_1 = UUID(int=1)
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize("value", [None, 0, 1.5, "text", "", "ü\u0000", True, [], [1, [2]], {}, {"a": {"b": None}}, 2**60])
def test_every_json_value_comes_back_as_it_was(value: Any) -> None:
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Order(UUID_1, WHEN, [Size(1)], Colour.RED), None),
        (Model(name="a"), {"name": "a", "count": 1}),
        (Fast("a"), {"name": "a"}),
        (WHEN, "2026-01-02T03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (timedelta(seconds=1.5), 1.5),
        (Decimal("1.10"), "1.10"),
        ({"at": {UUID_1}}, {"at": [str(UUID_1)]}),
        (Colour.RED, "red"),
        ([b"\xff"], ["/w=="]),
        (Pair(1, 2), [1, 2]),
    ],
)
def test_typed_values_have_a_json_form(value: Any, plain: Any) -> None:
    decoded = decode(encode(value))
    if plain is None:
        assert convert(decoded, Order, "x") == value
    else:
        assert decoded == plain


def test_bytes_stay_bytes_and_messages_become_json() -> None:
    assert decode(encode(b"\x00\xff")) == b"\x00\xff"
    struct = Struct()
    struct["a"] = 1
    assert decode(encode(struct)) == {"a": 1.0}
    assert encode(Payload(json='{ "a":1}')).json == '{ "a":1}'


@pytest.mark.parametrize("value", [object(), float("nan"), {1: object()}, lambda: 1, {("a", "b"): 1}])
def test_what_has_no_json_form_is_a_typed_error(value: Any) -> None:
    with pytest.raises(PayloadError, match="has no JSON form"):
        encode(value, "enqueue")


def test_a_circle_is_a_typed_error() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(PayloadError):
        encode(circle)


def test_a_huge_value_is_refused_with_its_size() -> None:
    with pytest.raises(PayloadError, match="3145729|bytes, at most"):
        encode("x" * (3 << 20), "enqueue")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ({"width": 3}, Size, Size(3)),
        ({"width": 3.0, "unknown": 1}, Size, Size(3)),
        ({"name": "a", "count": "3"}, Model, Model(name="a", count=3)),
        ({"name": "a"}, Fast, Fast("a")),
        ({"a": 1}, Typed, {"a": 1}),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, "a"], tuple[int, str], (1, "a")),
        ([1, 1], set[int], {1}),
        ("red", Colour, Colour.RED),
        ("b", Literal["a", "b"], "b"),
        (None, int | None, None),
        (5, str | int, 5),
        (1, float, 1.0),
        ("2026-01-02T03:04:05Z", datetime, WHEN),
        (1.5, timedelta, timedelta(seconds=1.5)),
        ("1.10", Decimal, Decimal("1.10")),
        ("/w==", bytes, b"\xff"),
        ({"a": [1]}, dict[str, list[int]], {"a": [1]}),
        ({"x": 1}, Any, {"x": 1}),
    ],
)
def test_values_are_read_as_types(value: Any, kind: Any, expected: Any) -> None:
    made = convert(value, kind, "request")
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ({}, Size, "request: width is missing"),
        ({"width": "3"}, Size, "request.width: needs an integer, got str"),
        (None, Size, "request: needs an object with width, height, got nothing"),
        ({"name": 3}, Model, "request: "),
        ({"name": 3}, Fast, r"request: Expected `str`"),
        ([1, "a"], list[int], r"request\[1\]: needs an integer"),
        (True, int, "needs an integer, got bool"),
        ("blue", Colour, "'blue' is not one of"),
        ("x", Literal["a"], "'x' is not one of"),
        ("x", int | None, "needs an integer"),
        ("soon", datetime, "is not a date and time"),
        ([1], tuple[int, int], "needs 2 items, got 1"),
        ({}, Typed, "a is missing"),
    ],
)
def test_what_does_not_fit_names_the_path(value: Any, kind: Any, message: str) -> None:
    with pytest.raises(UnreadableRequestError, match=message):
        convert(value, kind, "request")
