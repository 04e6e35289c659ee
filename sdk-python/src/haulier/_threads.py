"""Threads: for sync handlers, reused, and left alone when a handler never ends; and for event loops of the SDK's own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Work = Callable[[], None]
T = TypeVar("T")


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


class LoopThread:
    """An event loop in a daemon thread, started when it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self.closed = False

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Runs a coroutine in it.

        Raises:
            RuntimeError: It is closed.
        """
        try:
            return asyncio.run_coroutine_threadsafe(work, self._started())
        except BaseException:
            work.close()
            raise

    def close(self) -> None:
        """Ends the thread."""
        with self._lock:
            self.closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self.closed:
                raise RuntimeError("the client is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(self._loop,), name=self._name, daemon=True).start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        with contextlib.suppress(Exception):
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


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
