"""Wake-ups: of one task, and of an event loop by other threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
from collections.abc import Callable
from typing import Any


class Waiter(asyncio.Future[None]):
    """A future that one task waits for, and that can let it go on at once: one turn of the event loop less for each job."""

    _go_on: Callable[[Waiter], object] | None = None
    _context: contextvars.Context | None = None

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: contextvars.Context | None = None) -> None:
        """The task that waits."""
        self._go_on, self._context = fn, context

    def cancel(self, msg: Any | None = None) -> bool:
        """The task is cancelled."""
        return super().cancel(msg=msg) and self._soon()

    def wake(self) -> None:
        """The task goes on now, and has waited again or ended when this returns. In the event loop.

        Within another task that one is set aside meanwhile, by what asyncio has for tasks of other kinds ("Extending").
        """
        if self.done():
            return
        self.set_result(None)
        if self._go_on is None:
            return
        context = contextvars.copy_context() if self._context is None else self._context  # an empty one is false
        loop = self.get_loop()
        task = asyncio.current_task(loop)
        if task is None:
            context.run(self._go_on, self)
            return
        asyncio.tasks._leave_task(loop, task)  # noqa: SLF001
        try:
            context.run(self._go_on, self)
        finally:
            asyncio.tasks._enter_task(loop, task)  # noqa: SLF001

    def wake_soon(self) -> None:
        """The task goes on in the next turn."""
        if not self.done():
            self.set_result(None)
            self._soon()

    def _soon(self) -> bool:
        if self._go_on is not None:
            self.get_loop().call_soon(self._go_on, self, context=self._context)
        return True


class Bell:
    """An `asyncio.Event` that one task at most waits for, and that costs it less: it is rung for every claim and report."""

    def __init__(self) -> None:
        self._rung = False
        self._held = False
        self._waiter: Waiter | None = None

    def set(self) -> None:
        """Rings until it is cleared."""
        if not self._rung:
            self._rung = True
            if self._waiter is not None and not self._held:
                self._waiter.wake_soon()

    def clear(self) -> None:
        """Is silent until it is rung again."""
        self._rung = False

    def hold(self) -> None:
        """Wakes nobody until it is released."""
        self._held = True

    def release(self) -> None:
        """Wakes who waits now, when it has been rung."""
        self._held = False
        if self._rung and self._waiter is not None:
            self._waiter.wake()

    async def wait(self) -> None:
        """Waits until it rings."""
        if not self._rung:
            self._waiter = Waiter(loop=asyncio.get_running_loop())
            try:
                await self._waiter
            finally:
                self._waiter = None


class Door:
    """Where other threads ask an event loop for one thing, again and again.

    On Linux by an eventfd, which costs both threads a third less than `call_soon_threadsafe`; elsewhere by that.
    """

    _fd = -1

    def __init__(self, loop: asyncio.AbstractEventLoop, answer: Callable[[], None]) -> None:
        self._loop = loop
        self._answer = answer
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # no more files can be opened
                self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                try:
                    loop.add_reader(self._fd, self._open)
                except NotImplementedError:
                    self._close_fd()

    def knock(self) -> None:
        """Asks; several knocks may have one answer. From any thread.

        Raises:
            RuntimeError: The event loop is closed.
        """
        if self._fd < 0 or self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answer)
        elif sys.platform == "linux":
            os.eventfd_write(self._fd, 1)

    def close(self) -> None:
        """Answers no more. In the event loop."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)

    def _open(self) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._fd)
        self._answer()

    def _close_fd(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self._close_fd()  # not before: a thread that knocks late must not meet another file of that number
