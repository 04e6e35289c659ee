"""A wake-up for one task."""

from __future__ import annotations

import asyncio


class Bell:
    """An `asyncio.Event` that one task at most waits for, and that costs it less: it is rung for every claim and report."""

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Rings until it is cleared."""
        if not self._rung:
            self._rung = True
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def clear(self) -> None:
        """Is silent until it is rung again."""
        self._rung = False

    async def wait(self) -> None:
        """Waits until it rings."""
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
