"""Periodic and background workers: work of this process that recurs, without jobs."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from . import _limits as limits
from ._client import Client
from ._errors import Cancelled, HaulierError, InvalidArgumentError
from ._lock import Lock
from ._threads import ThreadRun

__all__ = ["Background", "Periodic", "PeriodicWorker", "RunContext"]

_log = logging.getLogger("haulier")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What one run of a periodic or background worker gets; made afresh for each run."""

    name: str
    """Name of the worker."""
    client: Client
    """A client for this event loop."""
    stop: asyncio.Event
    """Set when the run is to end."""
    run: int = 1
    """Number of the run in this process, from 1."""
    lock: Lock | None = None
    """The lock of a singleton."""

    @property
    def fencing_token(self) -> int | None:
        """Larger than that of every process that did the work before, to fence your own stores. None: no singleton."""
        return self.lock.fencing_token if self.lock else None

    @property
    def stopped(self) -> bool:
        """Whether the run is to end. From any thread: sync functions look at it, or call `raise_if_stopped`."""
        return self.stop.is_set()

    def raise_if_stopped(self) -> None:
        """Does nothing until the run is to end.

        Raises:
            Cancelled: It is to end; let it pass.
        """
        if self.stopped:
            raise Cancelled(f"the worker {self.name!r} is to stop")


class PeriodicWorker:
    """A periodic or background worker of this process."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None,
        singleton: bool | str,
        lease_time: timedelta,
        enabled: bool,
    ) -> None:
        self.name: str = name or str(getattr(function, "__name__", type(function).__name__))
        self.last_error: BaseException | None = None
        """What the last run raised, if it did."""
        self.run_count = 0
        """Runs that have ended, well or not."""
        self._function = function
        self._takes_context = bool(inspect.signature(function).parameters)
        self._lock_name = singleton if isinstance(singleton, str) else (self.name if singleton else None)
        self._lease_time = lease_time
        self._thread: ThreadRun | None = None
        self._enabled = asyncio.Event()
        if enabled:
            self._enabled.set()
        self._stop = asyncio.Event()
        self._ended = False

    @property
    def enabled(self) -> bool:
        """Whether it runs. Switching it off ends a background worker and lets a run of a periodic one end."""
        return self._enabled.is_set()

    @enabled.setter
    def enabled(self, value: bool) -> None:
        if value:
            self._enabled.set()
        else:
            self._enabled.clear()
            if isinstance(self, Background):
                self._stop.set()

    def end(self) -> None:
        """Ends it for good."""
        self._ended = True
        self.signal_stop()

    def signal_stop(self) -> None:
        """Asks the present run to end, and starts no other until `run` is called again."""
        self._stopping = True
        self._stop.set()
        self._enabled.set()

    _stopping = False

    async def run(self, client: Client) -> None:
        """Runs until it is to stop. Never raises but when it is cancelled."""
        self._stopping = self._ended
        self._stop = asyncio.Event()
        if self._ended:
            self._stop.set()
        delay = limits.BACKGROUND_DELAY_FIRST
        while not self._stopping:
            await self._enabled.wait()
            if self._stopping:
                return
            if self._stop.is_set():
                self._stop = asyncio.Event()
            try:
                if self._lock_name is None:
                    await self._work(client, None)
                else:
                    await self._work_alone(client, self._lock_name)
                delay = limits.BACKGROUND_DELAY_FIRST
            except HaulierError as error:
                _log.warning("worker %r goes on in %.0f s: %s", self.name, delay, error)
                await self._pause(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, limits.BACKGROUND_DELAY_MAX)

    async def _work_alone(self, client: Client, lock_name: str) -> None:
        lock = client.lock(lock_name, owner=self.name, lease_time=self._lease_time)
        if not await self._acquire(lock):
            return
        work = asyncio.ensure_future(self._work(client, lock))
        lost = asyncio.ensure_future(lock.lost.wait())
        try:
            await asyncio.wait((work, lost), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._stop.set()
                await asyncio.wait((work,), timeout=0.1)
                work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            work.cancel()
            lost.cancel()
            await asyncio.gather(work, lost, return_exceptions=True)
            if self._thread is not None and self._thread.alive:
                _log.warning(
                    "worker %r did not stop; its lock is left to its lease time, so that no other begins before", self.name
                )
                await lock.detach()
            else:
                await lock.release()

    async def _acquire(self, lock: Lock) -> bool:
        """Waits for the lock, or for the stop signal."""
        acquiring = asyncio.ensure_future(lock.acquire())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((acquiring, stopping), return_when=asyncio.FIRST_COMPLETED)
            return acquiring.done() and acquiring.result()
        finally:
            acquiring.cancel()
            stopping.cancel()
            await asyncio.gather(acquiring, stopping, return_exceptions=True)

    async def _work(self, client: Client, lock: Lock | None) -> None:
        raise NotImplementedError

    async def _run_once(self, client: Client, lock: Lock | None) -> bool:
        """Runs the function once. Whether it ended well."""
        context = RunContext(name=self.name, client=client, stop=self._stop, run=self.run_count + 1, lock=lock)
        arguments = (context,) if self._takes_context else ()
        try:
            if asyncio.iscoroutinefunction(self._function):
                await self._function(*arguments)
            else:
                self._thread = ThreadRun(self._function, *arguments)
                await self._thread.result()
        except asyncio.CancelledError:
            raise
        except Cancelled:
            return True  # it obeyed its stop signal
        except Exception as error:
            self.last_error = error
            _log.exception("worker %r failed", self.name)
            return False
        else:
            self.last_error = None
            return True
        finally:
            self.run_count += 1

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)


class Periodic(PeriodicWorker):
    """A worker that runs again and again, with a period between the end of a run and the next."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        period: timedelta,
        name: str | None = None,
        run_at_start: bool = False,
        singleton: bool | str = False,
        lease_time: timedelta = limits.LOCK_LEASE,
        enabled: bool = True,
    ) -> None:
        super().__init__(function, name=name, singleton=singleton, lease_time=lease_time, enabled=enabled)
        if period <= timedelta(0):
            raise InvalidArgumentError(f"the period cannot be {period}, it must be positive", operation="periodic")
        self._period = period.total_seconds()
        self._run_at_start = run_at_start

    async def _work(self, client: Client, lock: Lock | None) -> None:
        due_now = self._run_at_start
        while not self._stop.is_set():
            if not due_now:
                await self._pause(self._period)
            due_now = False
            if self._stop.is_set() or not self.enabled:
                return
            await self._run_once(client, lock)


class Background(PeriodicWorker):
    """A worker with a loop of its own, restarted with backoff when it throws."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        singleton: bool | str = False,
        lease_time: timedelta = limits.LOCK_LEASE,
        enabled: bool = True,
    ) -> None:
        super().__init__(function, name=name, singleton=singleton, lease_time=lease_time, enabled=enabled)

    async def _work(self, client: Client, lock: Lock | None) -> None:
        delay = limits.BACKGROUND_DELAY_FIRST
        while not self._stop.is_set():
            if await self._run_once(client, lock):
                if not self._stop.is_set():
                    _log.info("worker %r has ended by itself", self.name)
                    self.enabled = False
                return
            await self._pause(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, limits.BACKGROUND_DELAY_MAX)
