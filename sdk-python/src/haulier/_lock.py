"""Named locks with fencing tokens, renewed while they are held."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

from . import _limits as limits
from ._convert import duration
from ._errors import AbortedError, HaulierError, InvalidArgumentError, LockLostError, NotFoundError
from ._methods import ACQUIRE_LOCK, RELEASE_LOCK, RENEW_LOCK
from ._threads import LoopThread
from ._transport import Connection
from .v1 import lock_service_pb2 as pb

__all__ = ["Lock", "LockKey"]

T = TypeVar("T")

_log = logging.getLogger("haulier")


class Keeper:
    """Renews and releases the locks of a client in a thread of its own, by a connection of its own.

    Code that blocks the client's event loop loses no lock by it, and a call that was cancelled can still be made up for.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection.another()
        self._thread = LoopThread("haulier-locks")
        self._last_words: set[concurrent.futures.Future[Any]] = set()

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Runs a coroutine in the thread."""
        return self._thread.submit(work)

    def say_last(self, work: Coroutine[Any, Any, object]) -> None:
        """Runs a coroutine that nobody waits for but the end of the client."""
        with contextlib.suppress(RuntimeError):  # it has ended
            said = self.submit(work)
            self._last_words.add(said)
            said.add_done_callback(self._last_words.discard)

    async def close(self) -> None:
        """Ends the thread; locks that are still held end by their lease time."""
        words = [asyncio.wrap_future(said) for said in list(self._last_words)]
        if words:
            await asyncio.wait(words, timeout=limits.LOCK_LAST_WORDS)
        with contextlib.suppress(RuntimeError):
            await asyncio.wrap_future(self.submit(self.connection.close()))
        self._thread.close()


@dataclass(frozen=True, slots=True)
class LockKey:
    """What proves that a lock is held. It can be handed to another process, and is secret as long as the lock is."""

    name: str
    """Name of the lock."""
    owner_id: str
    """Secret of the owner."""
    fencing_token: int
    """Fencing token of the owner."""


class Lock:
    """A named lock: one owner at a time over all servers and programs.

    It is renewed at a third of its lease time until it is released, by a thread of its own, so that code that blocks the event
    loop does not lose it. When that fails it counts as lost at 80 % of the lease time, before another can take it: `lost` is set
    then, and code that must be single has to stop.

    Example:
        >>> async def nightly(client: Client) -> None:
        ...     async with client.lock("nightly-report") as lock:
        ...         await write_report(fencing_token=lock.fencing_token)
    """

    def __init__(
        self, connection: Connection, name: str, *, owner: str | None = None, lease_time: timedelta = limits.LOCK_LEASE
    ) -> None:
        self.name = name
        self.lost = asyncio.Event()
        """Set when the lock is no longer surely held."""
        self._connection = connection
        self._owner = owner or ""
        self._lease_time = lease_time
        self._key: LockKey | None = None
        self._is_lost = False
        self._held_until = 0.0
        self._renewal: concurrent.futures.Future[None] | None = None

    @property
    def fencing_token(self) -> int:
        """Larger than that of every earlier holder, to fence your own stores. 0: not held."""
        return self._key.fencing_token if self._key else 0

    @property
    def held(self) -> bool:
        """Whether it is surely held."""
        return self._key is not None and not self._is_lost and time.monotonic() < self._held_until

    @property
    def time_left(self) -> timedelta:
        """How long it is surely held without another renewal; zero when it is not."""
        return timedelta(seconds=max(0.0, self._held_until - time.monotonic())) if self.held else timedelta(0)

    async def while_held(self, work: Awaitable[T]) -> T:
        """Does something for as long as the lock is held: when it is lost first, the work is cancelled.

        Raises:
            LockLostError: It was lost before the work was done.
        """
        task = asyncio.ensure_future(work)
        lost = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait((task, lost), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise LockLostError(f"{self.name!r} was lost while work went on", operation="lock", reason="LOCK_LOST")
        finally:
            task.cancel()
            lost.cancel()

    def check(self) -> None:
        """Does nothing while the lock is surely held.

        Raises:
            LockLostError: It is not.
        """
        if not self.held:
            raise LockLostError(f"{self.name!r} is no longer surely held", operation="lock", reason="LOCK_LOST")

    async def acquire(self, wait: timedelta | None = None) -> bool:
        """Acquires the lock. When the call is cancelled or fails, what it may have acquired all the same is given back.

        Args:
            wait: How long to wait while another holds it. Default: for ever. Zero: not at all.

        Returns:
            Whether it is held now.
        """
        if self._key is not None:
            raise RuntimeError(f"lock {self.name!r}: acquired already")
        deadline = None if wait is None else time.monotonic() + wait.total_seconds()
        owner_id = str(uuid.uuid4())
        while True:
            left = limits.LOCK_WAIT_MAX.total_seconds()
            if deadline is not None:
                left = min(left, max(0.0, deadline - time.monotonic()))
            request = self._request(owner_id)
            if left > 0:
                request.wait.CopyFrom(duration(timedelta(seconds=left)))
            sent = time.monotonic()
            try:
                answer = await self._connection.call(
                    ACQUIRE_LOCK,
                    request,
                    operation="acquire_lock",
                    timeout=timedelta(seconds=left) + limits.CALL_TIMEOUT,
                )
            except BaseException as error:
                if not isinstance(error, InvalidArgumentError):
                    keeper = _keeper(self._connection)
                    keeper.say_last(_give_back(keeper.connection, self.name, owner_id))
                raise
            if answer.acquired:
                self._hold(LockKey(self.name, owner_id, answer.fencing_token), sent, answer.lease_time.ToTimedelta())
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False

    async def release(self) -> bool:
        """Releases the lock. Returns whether it was held until now."""
        key, renewal = self._let_go()
        if key is None or renewal is None:
            return False
        keeper = _keeper(self._connection)
        try:
            released = keeper.submit(_release(keeper.connection, key, renewal))
        except RuntimeError:  # the client was closed: its lease time ends it
            return False
        return await asyncio.shield(asyncio.wrap_future(released))

    async def detach(self) -> LockKey | None:
        """Lets go of it without releasing it: its lease time ends it, unless `Client.renew_lock` holds it on with the key.

        Returns:
            The key. None: it was not held.
        """
        key, renewal = self._let_go()
        if renewal is not None:
            renewal.cancel()
        return key

    async def __aenter__(self) -> Lock:
        await self.acquire()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.release()

    def _request(self, owner_id: str) -> pb.AcquireLockRequest:
        return pb.AcquireLockRequest(name=self.name, owner_id=owner_id, owner=self._owner, lease_time=duration(self._lease_time))

    def _hold(self, key: LockKey, sent: float, held_for: timedelta) -> None:
        self.lost.clear()
        self._is_lost = False
        self._extend(sent, held_for)
        self._key = key
        keeper = _keeper(self._connection)
        self._renewal = keeper.submit(self._keep(keeper.connection, key, asyncio.get_running_loop()))

    def _let_go(self) -> tuple[LockKey | None, concurrent.futures.Future[None] | None]:
        key, renewal = self._key, self._renewal
        self._key = self._renewal = None
        return key, renewal

    def _extend(self, sent: float, held_for: timedelta) -> None:
        """It is held so long from when the call was sent, which after a wait is more than the lease time."""
        over = sent + (held_for or self._lease_time).total_seconds()
        self._held_until = over - self._lease_time.total_seconds() * (1 - limits.FENCE_AT)

    # In the keeper's thread

    async def _keep(self, connection: Connection, key: LockKey, loop: asyncio.AbstractEventLoop) -> None:
        try:
            why = await self._renew(connection, key)
        except asyncio.CancelledError:
            self._lose(key, loop, "its client was closed")
            raise
        except Exception as error:
            self._lose(key, loop, repr(error))
            raise
        self._lose(key, loop, why)

    async def _renew(self, connection: Connection, key: LockKey) -> str:
        """Renews until that no longer works, and says why."""
        lease = self._lease_time.total_seconds()
        interval = lease / 3
        delay = interval
        while True:
            await asyncio.sleep(min(delay, max(0.0, self._held_until - time.monotonic())))
            sent = time.monotonic()
            if sent >= self._held_until:
                return "it could not be renewed in time"
            try:
                answer = await connection.call_once(
                    RENEW_LOCK,
                    pb.RenewLockRequest(
                        name=key.name,
                        owner_id=key.owner_id,
                        fencing_token=key.fencing_token,
                        lease_time=duration(self._lease_time),
                    ),
                    "renew_lock",
                    min(lease / 6, self._held_until - sent),  # an answer that does not come leaves time for others
                )
            except (AbortedError, NotFoundError) as error:
                return str(error)
            except HaulierError:
                delay = min(interval, 1.0) * random.uniform(0.5, 1.0)
                continue
            delay = interval
            self._extend(sent, answer.lease_time.ToTimedelta())

    def _lose(self, key: LockKey, loop: asyncio.AbstractEventLoop, why: str) -> None:
        if self._key is not key:
            return
        _log.warning("lock %r is lost: %s", self.name, why)
        self._is_lost = True

        def tell() -> None:
            if self._key is key:
                self.lost.set()

        with contextlib.suppress(RuntimeError):  # its event loop is closed: nobody is left to tell
            loop.call_soon_threadsafe(tell)


def _keeper(connection: Connection) -> Keeper:
    """The keeper of a connection, made on first use and ended with it."""
    if connection.keeper is None:
        connection.keeper = Keeper(connection)
    return connection.keeper


async def _release(connection: Connection, key: LockKey, renewal: concurrent.futures.Future[None]) -> bool:
    renewal.cancel()
    request = pb.ReleaseLockRequest(name=key.name, owner_id=key.owner_id, fencing_token=key.fencing_token)
    try:
        answer = await connection.call(RELEASE_LOCK, request, operation="release_lock", timeout=timedelta(seconds=5))
    except HaulierError as error:
        _log.warning("lock %r could not be released, it ends with its lease: %s", key.name, error)
        return False
    return answer.released


async def _give_back(connection: Connection, name: str, owner_id: str) -> None:
    """Of a call whose answer never came: what it may have acquired is released. The server may be at that call still."""
    request = pb.ReleaseLockRequest(name=name, owner_id=owner_id)
    with contextlib.suppress(HaulierError):
        for pause in limits.GIVE_BACK_PAUSES:
            await asyncio.sleep(pause)
            answer = await connection.call_once(RELEASE_LOCK, request, "release_lock", 5.0)
            if answer.released:
                break
