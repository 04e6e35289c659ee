"""A worker that runs for the time of a block."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from haulier import Worker


@contextlib.asynccontextmanager
async def running(worker: Worker, *, wait: bool = True) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(worker.run(handle_signals=False))
    try:
        if wait:
            ready = asyncio.ensure_future(worker.registered())
            await asyncio.wait((ready, task), timeout=10, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
        yield task
    finally:
        worker.abort()
        await asyncio.wait((task,), timeout=15)
        if task.done() and not task.cancelled():
            task.exception()
