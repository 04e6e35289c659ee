"""Threads for sync handlers: reused, and left alone when a handler never ends, so that a program can still exit."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any

Work = Callable[[], None]


class ThreadRun:
    """A function that runs in a daemon thread; it cannot be stopped, only no longer be waited for."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._function = function
        self._arguments = arguments
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Any] = self._loop.create_future()
        self.alive = True
        """Whether it still runs."""
        run = contextvars.copy_context().run
        threading.Thread(target=lambda: run(self._serve), name="haulier-local", daemon=True).start()

    async def result(self) -> Any:
        """Waits for its end; its result or its error."""
        return await self._ended

    def _serve(self) -> None:
        result, raised = None, None
        try:
            result = self._function(*self._arguments)
        except BaseException as error:
            raised = error
        self.alive = False
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._tell, result, raised)

    def _tell(self, result: Any, raised: BaseException | None) -> None:
        if self._ended.done():
            return
        if raised is None:
            self._ended.set_result(result)
        elif isinstance(raised, Exception):
            self._ended.set_exception(raised)
        else:  # SystemExit and the like are the thread's own matter
            self._ended.set_exception(RuntimeError(f"{type(raised).__name__}: {raised}"))


class Threads:
    """Runs each piece of work at once, in an idle thread or a new one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: list[queue.SimpleQueue[Work | None]] = []
        self._lock = threading.Lock()
        self._count = 0
        self._closed = False

    def run(self, work: Work) -> None:
        """Runs it in a thread, in an empty context of its own."""
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
            if inbox is None:
                self._count += 1
                inbox = queue.SimpleQueue[Work | None]()
                name = f"{self._name}-{self._count}"
                threading.Thread(target=self._serve, args=(inbox,), name=name, daemon=True).start()
        inbox.put(work)

    def close(self) -> None:
        """Ends idle threads; others end with their work."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for inbox in idle:
            inbox.put(None)

    def _serve(self, inbox: queue.SimpleQueue[Work | None]) -> None:
        while (work := inbox.get()) is not None:
            contextvars.Context().run(work)
            del work
            with self._lock:
                if self._closed:
                    return
                self._idle.append(inbox)
