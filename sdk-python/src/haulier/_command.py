"""What a command is: a name and a handler, and how a request becomes the handler's arguments."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import types
import typing
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast, overload

from ._errors import InvalidArgumentError, UnreadableRequestError
from ._payload import convert, converter, is_model, json_schema

__all__ = ["CommandDefinition", "command", "command_name"]

F = TypeVar("F", bound=Callable[..., Any])
Bind = Callable[[Any, Any], "tuple[tuple[Any, ...], dict[str, Any]]"]

_definitions: weakref.WeakKeyDictionary[Any, CommandDefinition] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandDefinition:
    """A command that a worker can serve."""

    name: str
    """Name, as jobs give it."""
    handler: Callable[..., Any]
    """The function."""
    worker: str | None = None
    """Named worker in which its jobs run one at a time, unless their options say otherwise."""
    version: str | None = None
    """The program's own version of the handler, for people."""
    bind: Bind
    """From job and request to arguments."""
    takes_job: bool
    """Whether the handler takes the job; one that does not is bound without it."""
    is_async: bool
    schema: str | None = None
    """JSON Schema of the request."""


@overload
def command(function: F, /) -> F: ...


@overload
def command(name: str | None = None, /, *, worker: str | None = None, version: str | None = None) -> Callable[[F], F]: ...


def command(
    function_or_name: F | str | None = None, /, *, worker: str | None = None, version: str | None = None
) -> F | Callable[[F], F]:
    """Declares a function to be the handler of a command, and gives it back unchanged.

    The command's name is the function's name unless one is given. `Worker.add` serves it; `Client.enqueue` takes the function
    in place of the name.

    Args:
        function_or_name: The function, or the name of the command.
        worker: Named worker in which its jobs run strictly one at a time.
        version: The program's own version of the handler, for people.

    Example:
        >>> @command(worker="images")
        ... async def resize(job: Job, image: str, width: int) -> str:
        ...     await job.progress(0.5, "half way")
        ...     return f"{image}@{width}"
    """

    def declare(function: F) -> F:
        name = function_or_name if isinstance(function_or_name, str) else None
        _definitions[function] = define(function, name=name, worker=worker, version=version)
        return function

    if function_or_name is None or isinstance(function_or_name, str):
        return declare
    return declare(function_or_name)


def remember(function: Callable[..., Any], definition: CommandDefinition) -> None:
    """Makes the function stand for this command where one is enqueued, unless it stands for one already."""
    with contextlib.suppress(TypeError):  # some callables cannot be looked up
        _definitions.setdefault(function, definition)


def definition_of(function: Callable[..., Any]) -> CommandDefinition:
    """The definition of a function, declared or not."""
    try:
        found = _definitions.get(function)
    except TypeError:
        found = None
    return found or define(function)


def command_name(command: object, request: Any) -> tuple[str, Any]:
    """Name and request of what was given to enqueue."""
    if isinstance(command, str):
        return command, request
    if is_model(type(command)):
        if request is not None:
            raise InvalidArgumentError(f"a {type(command).__name__} is the request itself; give no other", operation="enqueue")
        return type(command).__name__, command
    if isinstance(command, type):
        return command.__name__, request
    if callable(command):
        return definition_of(command).name, request
    raise InvalidArgumentError(
        f"a command is given by its name, its handler or its request, not by a {type(command).__name__}",
        operation="enqueue",
    )


def define(
    function: Callable[..., Any], *, name: str | None = None, worker: str | None = None, version: str | None = None
) -> CommandDefinition:
    """Looks at a function once, so that each job costs little."""
    bind, model, takes_job = _binder(function)
    inner: Any = function.func if isinstance(function, functools.partial) else function
    called = inner if inspect.isfunction(inner) or inspect.ismethod(inner) else type(inner).__call__
    own_name = str(getattr(inner, "__name__", "") or type(inner).__name__)
    if name is None and own_name == "<lambda>":
        raise InvalidArgumentError("a lambda has no name; give the command one", operation="command")
    return CommandDefinition(
        name=name or own_name,
        handler=cast("Any", function),
        worker=worker,
        version=version,
        bind=bind,
        takes_job=takes_job,
        is_async=asyncio.iscoroutinefunction(called),
        schema=json_schema(model) if model is not None else None,
    )


_EMPTY = inspect.Parameter.empty
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _binder(function: Callable[..., Any]) -> tuple[Bind, Any, bool]:
    """How its requests become arguments, the model of its request, and whether it takes the job."""
    from ._job import Job

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{function!r} cannot be a handler: {error}", operation="command") from error
    hints = _hints(function)
    parameters = list(signature.parameters.values())
    takes_job = False
    if parameters and parameters[0].kind in _POSITIONAL:
        first = parameters[0]
        hint = hints.get(first.name, _EMPTY)
        takes_job = hint is Job or (isinstance(hint, type) and issubclass(hint, Job)) or (hint is _EMPTY and first.name == "job")
        if takes_job:
            parameters = parameters[1:]
    rest = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    named = [
        parameter
        for parameter in parameters
        if parameter.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    ]
    kinds = {parameter.name: _hint(hints, parameter) for parameter in named}

    if len(named) == 1 and not rest:
        only = named[0]
        model = _model(kinds[only.name])
        if only.name == "request" or only.kind is inspect.Parameter.POSITIONAL_ONLY or model is not None:
            return _bind_whole(only, kinds[only.name], takes_job=takes_job), model, takes_job
    if takes_job and not named and not rest:
        return lambda job, request: ((job,), {}), None, True  # it looks at `job.request` itself, if it wants to
    required = frozenset(parameter.name for parameter in named if parameter.default is _EMPTY)
    return _bind_keywords(kinds, required, takes_job=takes_job, rest=rest), None, takes_job


def _bind_whole(only: inspect.Parameter, kind: Any, *, takes_job: bool) -> Bind:
    """For a handler with a parameter that takes all of the request."""
    optional = only.default is not _EMPTY

    def bind(job: Any, request: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if request is None and optional:
            return ((job,) if takes_job else ()), {}
        value = convert(request, kind, "request")
        if only.kind is inspect.Parameter.KEYWORD_ONLY:
            return ((job,) if takes_job else ()), {only.name: value}
        return ((job, value) if takes_job else (value,)), {}

    return bind


def _bind_keywords(kinds: dict[str, Any], required: frozenset[str], *, takes_job: bool, rest: bool) -> Bind:
    """For a handler whose parameters are the keys of the request."""
    readers = {name: (converter(kind), f"request.{name}") for name, kind in kinds.items()}
    plain = {name: kind for name, kind in kinds.items() if any(kind is one for one in _PLAIN)}
    plain_count = len(plain) if required <= plain.keys() else -1

    def bind(job: Any, request: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = cast("dict[str, Any]", request) if isinstance(request, dict) else _named(request, kinds)
        if len(given) == plain_count:
            for name, value in given.items():
                if type(value) is not plain.get(name):
                    break
            else:
                return ((job,) if takes_job else ()), given  # every parameter, and nothing to be converted: nearly all are so
        if not given.keys() >= required:
            missing = next(name for name in kinds if name in required and name not in given)
            raise UnreadableRequestError(f"request: {missing} is missing")
        arguments: dict[str, Any] = {}
        for name, value in given.items():
            reader = readers.get(name)
            if reader is not None:
                read, path = reader
                arguments[name] = read(value, path)
            elif rest:
                arguments[name] = value
            else:
                raise UnreadableRequestError(
                    f"request: {name} is not one of the parameters ({', '.join(kinds) or 'there are none'})"
                )
        return ((job,) if takes_job else ()), arguments

    return bind


_PLAIN = (str, int, bool, list, dict)
"""Types whose values are what JSON has."""


def _named(request: Any, kinds: dict[str, Any]) -> dict[str, Any]:
    """A request that is no object, as the parameters it can stand for."""
    if request is None:
        return {}
    if len(kinds) == 1:
        return dict.fromkeys(kinds, request)
    raise UnreadableRequestError(f"request: needs an object with {', '.join(kinds) or 'no fields'}, got {type(request).__name__}")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target: Any = function.func if isinstance(function, functools.partial) else function
    if not (inspect.isfunction(target) or inspect.ismethod(target)):
        target = type(target).__call__
    try:
        return typing.get_type_hints(target)
    except Exception:
        # Annotations that cannot be read at run time (names only imported for type checkers) are taken as they can be.
        return _readable_hints(target)


def _readable_hints(target: Any) -> dict[str, Any]:
    from ._job import Job

    found: dict[str, Any] = {}
    names = {**getattr(target, "__globals__", {}), "Job": Job}
    for name, hint in getattr(target, "__annotations__", {}).items():
        try:
            found[name] = eval(hint, names) if isinstance(hint, str) else hint
        except Exception:
            continue
    return found


def _model(kind: Any) -> Any:
    """The model that a parameter takes, also one that may be left out; None: it takes none."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kinds = [one for one in typing.get_args(kind) if one is not type(None)]
        kind = kinds[0] if len(kinds) == 1 else None
    return kind if is_model(kind) else None


def _hint(hints: dict[str, Any], parameter: inspect.Parameter) -> Any:
    hint = hints.get(parameter.name, _EMPTY)
    return Any if hint is _EMPTY else hint
