"""Measures what the SDK costs beside a bare grpcio loop, and how many no-op jobs one worker process runs.

    HAULIER_BIN=../target/release/haulier .venv/bin/python scripts/bench.py

Method: a private server on SQLite; 50 calls at once; bare and SDK take turns in one run; the least of four rounds counts. Both
enqueue the same command with the same request. The worker then runs what was enqueued.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc.aio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from server import RealServer

from haulier import Client, Worker
from haulier._methods import ENQUEUE_COMMAND as METHOD
from haulier.v1 import job_service_pb2, payload_pb2

CALLS, AT_ONCE, ROUNDS, JOBS = 2_000, 50, 4, 2_000


def cpu() -> float:
    """Seconds of CPU that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def enqueue(address: str) -> None:
    """Compares the two loops."""
    async with Client(address) as client, grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(
            METHOD.path, request_serializer=METHOD.request.SerializeToString, response_deserializer=METHOD.response.FromString
        )

        async def bare() -> object:
            request = job_service_pb2.EnqueueCommandRequest(
                command="noop", request=payload_pb2.Payload(json='{"a":1}'), request_id=str(uuid.uuid4())
            )
            return await call(request)

        async def sdk() -> object:
            return await client.enqueue("noop", {"a": 1})

        loops: dict[str, Callable[[], Awaitable[object]]] = {"bare": bare, "sdk": sdk}
        least = {name: (float("inf"), float("inf")) for name in loops}
        for _ in range(ROUNDS):
            for name, one in loops.items():
                began, used = time.perf_counter(), cpu()
                for _ in range(CALLS // AT_ONCE):
                    await asyncio.gather(*[one() for _ in range(AT_ONCE)])
                took = ((cpu() - used) / CALLS, (time.perf_counter() - began) / CALLS)
                least[name] = min(least[name], took)
        for name, (busy, wall) in least.items():
            print(f"enqueue, {name:4}: {1 / wall:6.0f} calls/s, {busy * 1e6:4.0f} us CPU a call")
        print(f"the SDK adds {least['sdk'][0] / least['bare'][0] - 1:.0%} CPU a call")


async def work(address: str, slots: int) -> None:
    """Runs jobs that are there."""
    worker = Worker(address, slots=slots)
    done = 0
    enough = asyncio.Event()

    @worker.command
    async def noop(a: int) -> None:
        nonlocal done
        done += 1
        if done == JOBS:
            enough.set()

    began, used = time.perf_counter(), cpu()
    running = asyncio.create_task(worker.run())
    await enough.wait()
    took = time.perf_counter() - began
    print(f"worker, {slots:3} slots: {JOBS / took:6.0f} jobs/s, {(cpu() - used) / JOBS * 1e6:4.0f} us CPU a job")
    worker.drain()
    await running


async def main() -> None:
    """Measures both."""
    server = RealServer()
    server.start()
    try:
        await enqueue(server.address)
        for slots in (10, 50, 200):
            await work(server.address, slots)
    finally:
        server.stop()
        server.remove()


if __name__ == "__main__":
    asyncio.run(main())
