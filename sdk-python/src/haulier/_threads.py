"""Threads for sync handlers: reused, and left alone when a handler never ends, so that a program can still exit."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable

Work = Callable[[], None]


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
