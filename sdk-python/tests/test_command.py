"""From functions to commands, and from requests to arguments."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest

from haulier import InvalidArgumentError, Job, UnreadableRequestError, Worker, command
from haulier._command import command_name, define
from haulier.testing import FakeJob


@dataclass(frozen=True)
class SendMail:
    to: str
    subject: str = "hello"


class Model(pydantic.BaseModel):
    to: str


async def keywords(job: Job, image: str, width: int = 5) -> None: ...
async def whole(job: Job, mail: SendMail) -> None: ...
async def model(mail: Model) -> None: ...
async def anything(job: Job, request: Any) -> None: ...
async def nothing() -> None: ...
async def looks_itself(job: Job) -> None: ...
async def single(text: str) -> None: ...
async def rest(job: Job, first: int, **others: Any) -> None: ...
async def unannotated(job, value) -> None: ...  # type: ignore[no-untyped-def]
async def optional(mail: SendMail | None = None) -> None: ...


def bound(function: Any, request: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    job = FakeJob(request)
    arguments, keywords_ = define(function).bind(job, job.request)
    return tuple(argument for argument in arguments if argument is not job), keywords_


@pytest.mark.parametrize(
    ("function", "request_", "expected"),
    [
        (keywords, {"image": "a", "width": 1}, ((), {"image": "a", "width": 1})),
        (keywords, {"image": "a"}, ((), {"image": "a"})),
        (whole, {"to": "x"}, ((SendMail("x"),), {})),
        (model, {"to": "x"}, ((Model(to="x"),), {})),
        (anything, [1], (([1],), {})),
        (anything, None, ((None,), {})),
        (nothing, None, ((), {})),
        (nothing, {}, ((), {})),
        (looks_itself, {"a": 1}, ((), {})),
        (optional, None, ((), {})),
        (optional, {"to": "x"}, ((SendMail("x"),), {})),
        (single, "just text", ((), {"text": "just text"})),
        (single, {"text": "named"}, ((), {"text": "named"})),
        (rest, {"first": 1, "b": 2}, ((), {"first": 1, "b": 2})),
        (unannotated, {"value": 1}, ((), {"value": 1})),
        (functools.partial(keywords, width=9), {"image": "a"}, ((), {"image": "a"})),
    ],
)
def test_requests_become_arguments(function: Any, request_: Any, expected: Any) -> None:
    assert bound(function, request_) == expected


@pytest.mark.parametrize(
    ("function", "request_", "message"),
    [
        (keywords, {}, "image is missing"),
        (keywords, {"image": "a", "size": 1}, "size is not one of the parameters"),
        (keywords, {"image": 5}, "request.image: needs text"),
        (keywords, "text", "needs an object with image, width"),
        (keywords, None, "image is missing"),
        (whole, {"subject": "x"}, "to is missing"),
        (nothing, {"a": 1}, "there are none"),
    ],
)
def test_requests_that_do_not_fit_are_unreadable(function: Any, request_: Any, message: str) -> None:
    with pytest.raises(UnreadableRequestError, match=message):
        bound(function, request_)


def test_a_decorator_gives_the_function_back_unchanged() -> None:
    worker = Worker("127.0.0.1:1")

    async def plain() -> None: ...

    assert worker.command(plain) is plain
    assert worker.command("other", worker="lane", version="2")(plain) is plain
    assert worker.commands == ("plain", "other")
    assert worker.definition("other").worker == "lane"
    assert command(plain) is plain


def test_a_command_is_named_by_text_handler_type_or_request() -> None:
    @command("mail.send")
    async def send() -> None: ...

    assert command_name("x", 1) == ("x", 1)
    assert command_name(send, 1) == ("mail.send", 1)
    assert command_name(keywords, 1) == ("keywords", 1)
    assert command_name(SendMail("a"), None) == ("SendMail", SendMail("a"))
    assert command_name(SendMail, {"to": "a"}) == ("SendMail", {"to": "a"})
    with pytest.raises(InvalidArgumentError, match="not by a int"):
        command_name(5, None)
    with pytest.raises(InvalidArgumentError, match="a lambda has no name"):
        define(lambda: None)


def test_a_command_is_served_once_and_only_before_the_worker_runs() -> None:
    worker = Worker("127.0.0.1:1")
    worker.add(keywords)
    with pytest.raises(InvalidArgumentError, match="served already"):
        worker.add(keywords)
    with pytest.raises(InvalidArgumentError, match="slots cannot be 0"):
        Worker(slots=0)
    with pytest.raises(InvalidArgumentError, match="not one name"):
        Worker(queues="mail")


def test_a_model_brings_its_schema() -> None:
    schema = define(model).schema
    assert schema is not None
    assert '"to"' in schema


def test_a_callable_object_is_a_handler() -> None:
    class Handler:
        async def __call__(self, job: Job, n: int) -> int:
            return n

    definition = define(Handler(), name="handler")
    assert definition.is_async
    assert bound(Handler(), {"n": 2}) == ((), {"n": 2})
