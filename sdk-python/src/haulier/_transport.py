"""The channel to the server, and calls with retries."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

import grpc
import grpc.aio
from google.protobuf.message import Message

from . import _limits as limits
from ._errors import HaulierError, InvalidArgumentError, ResourceExhaustedError, UnavailableError, from_rpc_error
from ._methods import Method
from ._version import __version__

if TYPE_CHECKING:
    from ._lock import Keeper

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)
Stream = Any
"""A bidirectional call of grpc.aio: its stubs do not know the methods that matter here."""

SDK = f"haulier-python/{__version__}"


class Repeat(Enum):
    """When a call may be repeated after UNAVAILABLE or RESOURCE_EXHAUSTED."""

    ALWAYS = "always"
    """It has the same effect as once: it reads, or carries a request id."""
    REFUSED = "refused"
    """Only when the server itself said that it did nothing."""


class Connection:
    """A lazy channel with its key, for one event loop."""

    def __init__(
        self,
        address: str | None = None,
        *,
        api_key: str | None = None,
        ca_certificate: bytes | None = None,
        client_certificate: tuple[bytes, bytes] | None = None,
        server_name: str | None = None,
        timeout: timedelta = limits.CALL_TIMEOUT,
    ) -> None:
        text = address or os.environ.get("HAULIER_ADDRESS") or limits.ADDRESS_DEFAULT
        self.address, self._tls = _parse_address(text)
        self._tls = self._tls or any((ca_certificate, client_certificate, server_name))
        self._ca_certificate = ca_certificate
        self._client_certificate = client_certificate
        self._server_name = server_name
        self._timeout = timeout
        key = api_key if api_key is not None else _key_from_environment()
        self._metadata: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {key}"),) if key else ()
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[object, Any] = {}
        self.keeper: Keeper | None = None
        """Who renews the locks that were acquired over it; ends with it."""

    def another(self) -> Connection:
        """The same for another event loop."""
        made = Connection.__new__(Connection)
        made.__dict__.update(self.__dict__)
        made.__dict__.update(_channel=None, _calls={}, keeper=None)
        return made

    async def call(
        self,
        method: Method[Req, Res],
        request: Req,
        *,
        operation: str,
        repeat: Repeat = Repeat.ALWAYS,
        timeout: timedelta | None = None,
        repeat_for: timedelta | None = None,
    ) -> Res:
        """Calls a unary method, and again while it may be repeated and time is left.

        Args:
            method: The method.
            request: Its request.
            operation: What is tried, for errors.
            repeat: When it may be repeated.
            timeout: How long it may take with all its repeats. Default: that of the connection.
            repeat_for: How long it may be repeated, for a call whose own answer takes long. Default: `timeout`.

        Raises:
            HaulierError: The typed form of the last failure.
        """
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout).total_seconds()
        last_start = deadline if repeat_for is None else time.monotonic() + repeat_for.total_seconds()
        delay = limits.RETRY_DELAY_FIRST
        while True:
            try:
                return await self.call_once(method, request, operation, deadline - time.monotonic())
            except (UnavailableError, ResourceExhaustedError) as error:
                if repeat is Repeat.REFUSED and not error.reason:
                    raise
                if error.reason == "NO_WORKER_HERE":
                    raise  # the server has waited for one already
                if isinstance(error, ResourceExhaustedError) and not error.reason and not error.retry_after:
                    raise  # a limit of the transport, such as the size of a message: the same again
                wait = error.retry_after.total_seconds() if error.retry_after else 0.0
                wait = max(wait, delay) * random.uniform(1.0, 1.5) if wait else delay * random.uniform(0.5, 1.0)
                if time.monotonic() + wait >= min(deadline, last_start):
                    raise
                delay = min(delay * 2, limits.RETRY_DELAY_MAX)
            await asyncio.sleep(wait)

    async def call_once(self, method: Method[Req, Res], request: Req, operation: str, timeout: float) -> Res:
        """Calls a unary method once; `timeout` in seconds."""
        call = self._calls.get(method) or self._open(method, "unary_unary")
        try:
            return cast("Res", await call(request, timeout=max(timeout, 0.001), metadata=self._metadata))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(operation, error, self.address) from None

    async def stream(self, method: Method[Req, Res], request: Req, *, operation: str) -> AsyncIterator[Res]:
        """Reads a server stream once, until it ends or breaks."""
        call = (self._calls.get(method) or self._open(method, "unary_stream"))(request, metadata=self._metadata)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(operation, error, self.address) from None
        finally:
            call.cancel()

    def open_stream(self, method: Method[Any, Any]) -> Stream:
        """Opens a bidirectional stream."""
        return (self._calls.get(method) or self._open(method, "stream_stream"))(metadata=self._metadata)

    def blocking_stream(self, method: Method[Any, Any]) -> tuple[Callable[[Iterator[Any]], Iterator[Any]], Callable[[], None]]:
        """A bidirectional method for a thread without an event loop, over a channel of its own, and how to close that."""
        channel = self._connect(grpc)
        call = _opened(channel, method, "stream_stream")
        return functools.partial(call, metadata=self._metadata), channel.close

    def error(self, operation: str, error: grpc.aio.AioRpcError) -> HaulierError:
        """The typed form of a failed stream."""
        return from_rpc_error(operation, error, self.address)

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        if self.keeper is not None:
            await self.keeper.close()
        channel, self._channel = self._channel, None
        self._calls = {}
        if channel is not None:
            await channel.close()
            # The library tells of the end of each call after this; told to a loop that is closed by then it logs errors.
            await asyncio.sleep(limits.CLOSE_LINGER)

    def _open(self, method: Method[Any, Any], kind: str) -> Any:
        if self._channel is None:
            self._channel = self._connect(grpc.aio)
        call = self._calls[method] = _opened(self._channel, method, kind)
        return call

    def _connect(self, library: Any) -> Any:
        """A channel of `grpc.aio`, or one of `grpc`, which blocks."""
        options: list[tuple[str, Any]] = [
            ("grpc.primary_user_agent", SDK),
            ("grpc.max_receive_message_length", limits.MESSAGE_IN_BYTES_MAX),
            ("grpc.max_send_message_length", limits.MESSAGE_OUT_BYTES_MAX + (1 << 20)),
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 5_000),
            ("grpc.max_reconnect_backoff_ms", int(limits.RECONNECT_DELAY_MAX * 1000)),
            ("grpc.keepalive_time_ms", limits.KEEPALIVE_TIME_MS),
            ("grpc.keepalive_timeout_ms", limits.KEEPALIVE_TIMEOUT_MS),
            # A keepalive joins a ping that is under way for other reasons, whose own timeout is a minute.
            ("grpc.http2.ping_timeout_ms", limits.KEEPALIVE_TIMEOUT_MS),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if not self._tls:
            return library.insecure_channel(self.address, options=options)
        if self._server_name:
            options.append(("grpc.ssl_target_name_override", self._server_name))
        chain, key = self._client_certificate or (None, None)
        credentials = grpc.ssl_channel_credentials(self._ca_certificate, private_key=key, certificate_chain=chain)
        return library.secure_channel(self.address, credentials, options=options)


def _opened(channel: Any, method: Method[Any, Any], kind: str) -> Any:
    return getattr(channel, kind)(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )


class Complaints:
    """Says when a failure that is repeated should be logged: a worker that looks alive and gets nothing must be heard."""

    def __init__(self) -> None:
        self._failures = 0
        self._last = 0.0

    def worked(self) -> None:
        """It worked."""
        self._failures = 0

    def due(self, error: HaulierError) -> bool:
        """It failed; whether to log it."""
        self._failures += 1
        passing = isinstance(error, UnavailableError | ResourceExhaustedError)
        if passing and self._failures < limits.COMPLAIN_AFTER:
            return False
        now = time.monotonic()
        if self._last and now - self._last < limits.COMPLAIN_INTERVAL:
            return False
        self._last = now
        return True


def _parse_address(text: str) -> tuple[str, bool]:
    text = text.strip()
    if "://" not in text:
        return text, False
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise InvalidArgumentError(
            f"cannot be {text!r}; give host:port, http://host:port or https://host:port", operation="address"
        )
    default = 443 if parts.scheme == "https" else 80
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or default}", parts.scheme == "https"


def _key_from_environment() -> str | None:
    key = os.environ.get("HAULIER_API_KEY")
    path = os.environ.get("HAULIER_API_KEY_FILE")
    if not key and path:
        try:
            key = Path(path).read_text().strip()
        except OSError as error:
            raise InvalidArgumentError(f"cannot be read: {error}", operation="HAULIER_API_KEY_FILE") from error
    return key or None


def current_trace() -> Sequence[str]:
    """`traceparent` and `tracestate` of the current OpenTelemetry span, where the program uses OpenTelemetry."""
    propagate = sys.modules.get("opentelemetry.propagate")
    if propagate is None:
        return ("", "")
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return (carrier.get("traceparent", ""), carrier.get("tracestate", ""))
