"""The worker program in Python: see the README of the scenarios."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any

from haulier import Job, NonRetryable, Worker

worker = Worker(
    queues=[os.environ["HAULIER_SCENARIO_QUEUE"]],
    slots=4,
    lease_time=timedelta(seconds=float(os.environ.get("HAULIER_SCENARIO_LEASE_SECONDS", "5"))),
    drain_timeout=timedelta(seconds=float(os.environ.get("HAULIER_SCENARIO_DRAIN_SECONDS", "1"))),
)


@worker.command("scenario.echo")
async def echo(request: Any) -> dict[str, Any]:
    return {"language": "python", "request": request}


@worker.command("scenario.work")
async def work(job: Job, seconds: float) -> dict[str, Any]:
    await job.log("working")
    await asyncio.sleep(seconds)
    return {"language": "python", "attempt": job.attempt}


@worker.command("scenario.hold")
async def hold(job: Job) -> dict[str, Any]:
    if job.checkpoint is not None:
        return {"language": "python", "attempt": job.attempt, "crashes": job.crashes, "checkpoint": job.checkpoint}
    await job.save_checkpoint({"by": "python"})
    await job.log("holding")
    await asyncio.Event().wait()
    raise AssertionError("it waits until it is told to stop")


@worker.command("scenario.fail")
async def fail(code: str, message: str) -> None:
    raise NonRetryable(message, code=code)


async def main() -> None:
    running = asyncio.create_task(worker.run())
    ready = asyncio.ensure_future(worker.registered())
    await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        print("ready", flush=True)
    await running


asyncio.run(main())
