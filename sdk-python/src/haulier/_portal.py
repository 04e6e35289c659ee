"""How code without asyncio calls the async client: an event loop in a thread of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, TypeVar

from typing_extensions import Self

from . import _limits as limits
from ._client import Client
from ._lock import Lock, LockKey
from ._pages import Page, Pages
from ._threads import LoopThread

T = TypeVar("T")


class Portal(LoopThread):
    """The event loop of a client that blocks."""

    def __init__(self) -> None:
        super().__init__("haulier-client")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine and blocks until it is done."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # when the wait was interrupted, the work is too
            raise

    def iterate(self, source: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """Reads an async iterator, item by item."""
        iterator = self.run(_made(source))
        try:
            while (item := self.run(_next(iterator))) is not None:
                yield item[0]
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None and not self.closed:
                self.run(close())


async def _made(source: Callable[[], AsyncIterator[T]]) -> AsyncIterator[T]:
    return source()


async def _next(iterator: AsyncIterator[T]) -> tuple[T] | None:
    # StopAsyncIteration would not survive the way through a future.
    try:
        return (await iterator.__anext__(),)
    except StopAsyncIteration:
        return None


class SyncPages(Generic[T]):
    """A list that blocks: `for` reads it page by page, `page` gives one page; see `haulier.Pages`."""

    def __init__(self, portal: Portal, source: Callable[[], Pages[T]]) -> None:
        self._portal = portal
        self._source = source

    def page(self, token: str = "", *, size: int = limits.PAGE_SIZE) -> Page[T]:
        """One page: the first, or the one with this token."""
        return self._portal.run(self._source().page(token, size=size))

    def __iter__(self) -> Iterator[T]:
        return self._portal.iterate(lambda: aiter(self._source()))


class SyncLock:
    """A named lock that blocks; see `haulier.Lock`. It is renewed by a thread of the client's while it is held."""

    def __init__(self, portal: Portal, lock: Lock) -> None:
        self._portal = portal
        self._lock = lock

    @property
    def name(self) -> str:
        """Name of the lock."""
        return self._lock.name

    @property
    def fencing_token(self) -> int:
        """Larger than that of every earlier holder. 0: not held."""
        return self._lock.fencing_token

    @property
    def held(self) -> bool:
        """Whether it is surely held."""
        return self._lock.held

    @property
    def time_left(self) -> timedelta:
        """How long it is surely held without another renewal; zero when it is not."""
        return self._lock.time_left

    def check(self) -> None:
        """Does nothing while the lock is surely held.

        Raises:
            LockLostError: It is not.
        """
        self._lock.check()

    def acquire(self, wait: timedelta | None = None) -> bool:
        """Acquires the lock; waits for ever unless `wait` is given. Whether it is held now."""
        return self._portal.run(self._lock.acquire(wait))

    def release(self) -> bool:
        """Releases the lock. Whether it was held until now."""
        return self._portal.run(self._lock.release())

    def detach(self) -> LockKey | None:
        """Lets go of it without releasing it, and gives its key; see `haulier.Lock.detach`."""
        return self._portal.run(self._lock.detach())

    def __enter__(self) -> SyncLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


class PortalClient:
    """What the blocking client is made of."""

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
        self._portal = Portal()
        self._client = Client(
            address,
            api_key=api_key,
            ca_certificate=ca_certificate,
            client_certificate=client_certificate,
            server_name=server_name,
            timeout=timeout,
        )

    @property
    def address(self) -> str:
        """Address of the server."""
        return self._client.address

    def lock(self, name: str, *, owner: str | None = None, lease_time: timedelta = limits.LOCK_LEASE) -> SyncLock:
        """A named lock, to be acquired with `with` or `acquire`."""
        return SyncLock(self._portal, self._client.lock(name, owner=owner, lease_time=lease_time))

    def close(self) -> None:
        """Closes the connection and ends its thread."""
        with contextlib.suppress(RuntimeError):
            self._portal.run(self._client.close())
        self._portal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
