"""Named locks with fencing tokens, renewed while they are held."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
import uuid
from collections.abc import Awaitable
from datetime import timedelta
from types import TracebackType
from typing import TypeVar

from . import _limits as limits
from ._convert import duration
from ._errors import AbortedError, HaulierError, LockLostError, NotFoundError
from ._methods import ACQUIRE_LOCK, RELEASE_LOCK, RENEW_LOCK
from ._transport import Connection
from .v1 import lock_service_pb2 as pb

__all__ = ["Lock"]

T = TypeVar("T")

_log = logging.getLogger("haulier")


class Lock:
    """A named lock: one owner at a time over all servers and programs.

    It is renewed at a third of its lease time until it is released. When that fails it counts as lost at 80 % of the lease
    time, before another can take it: `lost` is set then, and code that must be single has to stop.

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
        self._owner_id = str(uuid.uuid4())
        self._lease_time = lease_time
        self._token = 0
        self._held_until = 0.0
        self._renewal: asyncio.Task[None] | None = None

    @property
    def fencing_token(self) -> int:
        """Larger than that of every earlier holder, to fence your own stores. 0: not held."""
        return self._token

    @property
    def held(self) -> bool:
        """Whether it is surely held."""
        return self._token != 0 and not self.lost.is_set() and time.monotonic() < self._held_until

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
        """Acquires the lock.

        Args:
            wait: How long to wait while another holds it. Default: for ever. Zero: not at all.

        Returns:
            Whether it is held now.
        """
        if self._renewal is not None:
            raise RuntimeError(f"lock {self.name!r}: acquired already")
        deadline = None if wait is None else time.monotonic() + wait.total_seconds()
        self._owner_id = str(uuid.uuid4())
        while True:
            left = limits.LOCK_WAIT_MAX.total_seconds()
            if deadline is not None:
                left = min(left, max(0.0, deadline - time.monotonic()))
            request = pb.AcquireLockRequest(
                name=self.name, owner_id=self._owner_id, owner=self._owner, lease_time=duration(self._lease_time)
            )
            if left > 0:
                request.wait.CopyFrom(duration(timedelta(seconds=left)))
            sent = time.monotonic()
            # When this is cancelled it may have been acquired all the same: nobody renews it, so it ends by itself.
            answer = await self._connection.call(
                ACQUIRE_LOCK,
                request,
                operation="acquire_lock",
                timeout=timedelta(seconds=left) + limits.CALL_TIMEOUT,
            )
            if answer.acquired:
                self.lost.clear()
                self._token = answer.fencing_token
                self._extend(sent, answer.lease_time.ToTimedelta())
                self._renewal = asyncio.create_task(self._renew(), name=f"haulier lock {self.name}")
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False

    async def release(self) -> bool:
        """Releases the lock. Returns whether it was held until now."""
        renewal, self._renewal = self._renewal, None
        if renewal is None:
            return False
        renewal.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewal
        token, self._token = self._token, 0
        try:
            answer = await self._connection.call(
                RELEASE_LOCK,
                pb.ReleaseLockRequest(name=self.name, owner_id=self._owner_id, fencing_token=token),
                operation="release_lock",
                timeout=timedelta(seconds=5),
            )
        except HaulierError as error:
            _log.warning("lock %r could not be released, it ends with its lease: %s", self.name, error)
            return False
        return answer.released

    async def detach(self) -> None:
        """Lets go of it without releasing it: it stays held until its lease time is over."""
        renewal, self._renewal = self._renewal, None
        self._token = 0
        if renewal is not None:
            renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewal

    async def __aenter__(self) -> Lock:
        await self.acquire()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.release()

    def _extend(self, sent: float, held_for: timedelta) -> None:
        """It is held so long from when the call was sent, which after a wait is more than the lease time."""
        over = sent + (held_for or self._lease_time).total_seconds()
        self._held_until = over - self._lease_time.total_seconds() * (1 - limits.FENCE_AT)

    async def _renew(self) -> None:
        lease = self._lease_time.total_seconds()
        interval = lease / 3
        delay = interval
        while True:
            await asyncio.sleep(min(delay, max(0.0, self._held_until - time.monotonic())))
            sent = time.monotonic()
            if sent >= self._held_until:
                return self._lose("it could not be renewed in time")
            try:
                answer = await self._connection.call_once(
                    RENEW_LOCK,
                    pb.RenewLockRequest(
                        name=self.name,
                        owner_id=self._owner_id,
                        fencing_token=self._token,
                        lease_time=duration(self._lease_time),
                    ),
                    "renew_lock",
                    min(lease / 6, self._held_until - sent),  # an answer that does not come leaves time for others
                )
            except (AbortedError, NotFoundError) as error:
                return self._lose(str(error))
            except HaulierError:
                delay = min(interval, 1.0) * random.uniform(0.5, 1.0)
                continue
            delay = interval
            self._extend(sent, answer.lease_time.ToTimedelta())

    def _lose(self, why: str) -> None:
        _log.warning("lock %r is lost: %s", self.name, why)
        self.lost.set()
