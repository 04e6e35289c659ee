"""What the Python scenarios stand on: the names of this run, workers for the time of a block, and expectations.

The runner puts this folder on PYTHONPATH. A scenario is a function that `play` runs with a client and the queue of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from haulier import Backoff, Client, HaulierError, JobAttempt, JobFilter, RetryPolicy, Worker

E = TypeVar("E", bound=HaulierError)

RUN = uuid.uuid4().hex[:12]
"""Fresh for each start: what every name ends in."""
LANGUAGE = "python"
LONGEST = 80.0
"""Seconds after which a scenario that has not ended fails."""


class Unexpected(Exception):
    """Something was not as the README says; the text is the sentence that the scenario ends with."""


def named(word: str) -> str:
    """A name of this run."""
    return f"{word}-{RUN}"


def expect(what: str, seen: object, wanted: object) -> None:
    """What was seen must be what was wanted."""
    if seen != wanted:
        raise Unexpected(f"{what}: expected {wanted!r}, saw {seen!r}")


def expect_that(condition: object, sentence: str) -> None:
    """The condition must hold; the sentence says what was expected and seen."""
    if not condition:
        raise Unexpected(sentence)


async def expect_error(what: str, kind: type[E], call: Awaitable[Any]) -> E:
    """The call must fail with such an error, which is given back."""
    try:
        seen = await call
    except kind as error:
        return error
    except HaulierError as error:
        raise Unexpected(f"{what}: expected {kind.__name__}, got {type(error).__name__}: {error}") from error
    raise Unexpected(f"{what}: expected {kind.__name__}, got the answer {seen!r}")


async def until(what: str, check: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    """Asks until the answer is true, and gives it back."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (answer := await check()):
        if loop.time() > deadline:
            raise Unexpected(f"{what}: it did not come to pass within {seconds:g} s")
        await asyncio.sleep(0.05)
    return answer


@contextlib.asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    """A worker that runs for the time of the block; registered when it begins, drained when it ends."""
    task = asyncio.create_task(worker.run(handle_signals=False))
    try:
        ready = asyncio.ensure_future(worker.registered())
        await asyncio.wait((ready, task), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if task.done():
            await task
        yield task
    finally:
        worker.drain(timedelta(seconds=2))
        await asyncio.wait((task,), timeout=15)


async def attempts_of(client: Client, job_id: int) -> list[JobAttempt]:
    """Every attempt of a job, of all runs."""
    return [attempt async for attempt in client.list_attempts(job_id)]


async def jobs_of(client: Client, filter: JobFilter) -> list[Any]:
    """Summaries of the jobs that match."""
    return [job async for job in client.list_jobs(filter)]


def fixed(retry_limit: int, milliseconds: int) -> RetryPolicy:
    """So many retries, always so long after the failure."""
    return RetryPolicy(retry_limit=retry_limit, backoff=Backoff.FIXED, first_delay=timedelta(milliseconds=milliseconds))


class WorkerProgram:
    """A worker program of some language, in a process of its own."""

    def __init__(self, language: str, queue: str, *, lease_seconds: int = 5, drain_seconds: float = 1) -> None:
        self.language = language
        self._queue = queue
        self._settings = {
            "HAULIER_SCENARIO_QUEUE": queue,
            "HAULIER_SCENARIO_LEASE_SECONDS": str(lease_seconds),
            "HAULIER_SCENARIO_DRAIN_SECONDS": str(drain_seconds),
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it and waits until it is registered."""
        command = os.environ[f"HAULIER_SCENARIO_WORKER_{self.language.upper()}"]
        self._process = await asyncio.create_subprocess_exec(
            "sh", "-c", f"exec {command}", env={**os.environ, **self._settings}, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        expect(f"the first line of the {self.language} worker program", line.decode().strip(), "ready")

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, seconds: float = 15) -> int:
        """Waits for its end; gives its exit code."""
        assert self._process is not None
        try:
            return await asyncio.wait_for(self._process.wait(), seconds)
        except asyncio.TimeoutError:
            raise Unexpected(f"the {self.language} worker program did not end within {seconds:g} s") from None

    async def __aenter__(self) -> WorkerProgram:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def languages() -> list[str]:
    """The languages whose worker programs are there."""
    known = ("python", "typescript", "rust")
    return [language for language in known if os.environ.get(f"HAULIER_SCENARIO_WORKER_{language.upper()}")]


def play(story: Callable[[Client, str], Awaitable[None]]) -> None:
    """Runs a scenario as the program that it is."""
    queue = named(Path(sys.argv[0]).resolve().parent.name)

    async def main() -> None:
        async with Client() as client:
            await asyncio.wait_for(story(client, queue), LONGEST)

    try:
        asyncio.run(main())
    except Unexpected as error:
        sys.exit(str(error))
    except asyncio.TimeoutError:
        traceback.print_exc()
        sys.exit(f"it did not end within {LONGEST:g} s")
    except HaulierError as error:
        traceback.print_exc()
        sys.exit(f"expected no error, got {type(error).__name__}: {error}")
