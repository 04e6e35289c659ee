"""Measures what the SDK costs beside bare grpc.aio loops that call the same methods, and how many jobs a worker process runs.

    HAULIER_BIN=../target/release/haulier python benchmarks/bench.py [--quick]

Method: a private server on SQLite. Bare and SDK take turns in one run, each round twice as many; the least of the rounds counts,
for calls/s and for CPU by `getrusage` of this process (all its threads, not the server). Enqueue: 50 calls at once, the same
command and request. Worker: jobs that wait already are claimed, run by a handler that does nothing, and reported; the bare loop
registers, claims as many at once, reports each claim by the same two messages on ReportJobs (received, then an outcome for each
job) and reads the acknowledgements, without handlers, slots, heartbeats, or anything that could go wrong. The more slots, the
more jobs, so that start and end of the worker weigh little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from server import RealServer

from haulier import Client, EnqueueItem, JobOptions, Worker
from haulier import _methods as methods
from haulier.v1 import job_service_pb2, payload_pb2
from haulier.v1 import worker_service_pb2 as pb

AT_ONCE = 50


def cpu() -> float:
    """Seconds of CPU that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Measured:
    """The least of several rounds."""

    def __init__(self) -> None:
        self.wall = self.cpu = float("inf")

    async def round(self, count: int, work: Callable[[], Awaitable[object]]) -> None:
        """One round of so many calls or jobs."""
        began, used = time.perf_counter(), cpu()
        await work()
        self.cpu = min(self.cpu, (cpu() - used) / count)
        self.wall = min(self.wall, (time.perf_counter() - began) / count)

    def __str__(self) -> str:
        return f"{1 / self.wall:7.0f}/s  {self.cpu * 1e6:6.0f} us CPU"


def opened(channel: grpc.aio.Channel, method: methods.Method[Any, Any], kind: str = "unary_unary") -> Any:
    """A bare call of a method."""
    return getattr(channel, kind)(
        method.path, request_serializer=method.request.SerializeToString, response_deserializer=method.response.FromString
    )


async def enqueue(address: str, calls: int, rounds: int) -> None:
    """Compares the loops that enqueue."""
    async with Client(address) as client, grpc.aio.insecure_channel(address) as channel:
        call = opened(channel, methods.ENQUEUE_COMMAND)

        async def bare() -> object:
            request = job_service_pb2.EnqueueCommandRequest(
                command="unserved", request=payload_pb2.Payload(json=json.dumps({"a": 1})), request_id=str(uuid.uuid4())
            )
            return await call(request)

        async def sdk() -> object:
            return await client.enqueue("unserved", {"a": 1})

        measured = {"bare": Measured(), "SDK": Measured()}
        for _ in range(rounds):
            for name, one in (("bare", bare), ("SDK", sdk)):

                async def all_calls(one: Callable[[], Awaitable[object]] = one) -> None:
                    async def caller() -> None:
                        for _ in range(calls // AT_ONCE):
                            await one()

                    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))

                await measured[name].round(calls, all_calls)
    tell("enqueue", measured)


async def work(address: str, jobs: int, rounds: int, slots: int) -> None:
    """Compares the loops that run jobs, each in a process of its own: two event loops in one would wake each other."""
    queue = f"bench-{uuid.uuid4()}"
    measured = {"bare": Measured(), "SDK": Measured()}
    for _ in range(rounds):
        for kind, one in measured.items():
            async with Client(address) as client:
                await fill(client, queue, jobs)
            command = [sys.executable, __file__, "--worker", kind, address, queue, str(jobs), str(slots)]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            answer, _ = await process.communicate()
            wall, used = json.loads(answer)
            one.wall, one.cpu = min(one.wall, wall), min(one.cpu, used)
    tell(f"no-op worker, {slots} slots", measured)


async def be_worker(kind: str, address: str, queue: str, jobs: int, slots: int) -> None:
    """Runs the jobs in this process, and prints seconds and seconds of CPU for each."""
    measured = Measured()
    if kind == "SDK":
        await measured.round(jobs, lambda: sdk_worker(address, queue, jobs, slots))
    else:
        async with grpc.aio.insecure_channel(address) as channel:
            await measured.round(jobs, lambda: bare_worker(channel, queue, jobs, slots))
    print(json.dumps([measured.wall, measured.cpu]))


async def fill(client: Client, queue: str, jobs: int) -> None:
    """Stores the jobs to be run."""
    item = EnqueueItem(command="noop", request={"a": 1}, options=JobOptions(queue=queue))
    for begin in range(0, jobs, 1_000):
        await client.enqueue_batch([item] * min(1_000, jobs - begin))


async def bare_worker(channel: grpc.aio.Channel, queue: str, jobs: int, slots: int) -> None:
    """The least that a worker can do."""
    registration = pb.RegisterWorkerRequest(name="bare", instance_id=str(uuid.uuid4()), queues=[queue], slots=slots)
    registration.commands.add(command="noop")
    session = await opened(channel, methods.REGISTER_WORKER)(registration)
    claim = opened(channel, methods.CLAIM_JOB)
    stream = opened(channel, methods.REPORT_JOBS, "stream_stream")()
    await stream.write(pb.ReportJobsRequest(session_id=session.session_id))
    stored = 0
    everything = asyncio.Event()

    async def read() -> None:
        nonlocal stored
        async for answer in stream:
            stored += sum(ack.outcome_stored for ack in answer.acks)
            if stored >= jobs:
                everything.set()

    reading = asyncio.create_task(read())
    sequence = done = 0
    while done < jobs:
        request = pb.ClaimJobRequest(
            session_id=session.session_id, sequence=sequence + 1, ack_sequence=sequence, max_jobs=slots, wait={"seconds": 20}
        )
        answer = await claim(request)
        sequence += 1
        report = pb.ReportJobsRequest()
        report.received.add(loop=0, sequence=sequence)
        await stream.write(report)
        report = pb.ReportJobsRequest()
        for job in answer.jobs:
            json.loads(job.request.json)
            report.outcomes.add(lease=job.lease).complete.result.json = "null"
        await stream.write(report)
        done += len(answer.jobs)
    await everything.wait()
    await stream.done_writing()
    reading.cancel()
    await opened(channel, methods.UNREGISTER_WORKER)(pb.UnregisterWorkerRequest(session_id=session.session_id))


async def sdk_worker(address: str, queue: str, jobs: int, slots: int) -> None:
    """The worker of the SDK, from its start to its end."""
    worker = Worker(address, queues=[queue], slots=slots)
    done = 0

    @worker.command
    async def noop(a: int) -> None:
        nonlocal done
        done += 1
        if done == jobs:
            worker.drain()

    await worker.run(handle_signals=False)


def tell(what: str, measured: dict[str, Measured]) -> None:
    """Prints a comparison."""
    bare, sdk = measured["bare"], measured["SDK"]
    print(f"{what}: bare {bare}; SDK {sdk}; the SDK adds {sdk.cpu / bare.cpu - 1:.0%} CPU", flush=True)


async def main() -> None:
    """Measures everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        kind, address, queue, jobs, slots = arguments.worker
        return await be_worker(kind, address, queue, int(jobs), int(slots))
    quick = arguments.quick
    calls, count, rounds = (200, 200, 1) if quick else (5_000, 5_000, 4)
    server = RealServer()
    server.start()
    try:
        await enqueue(server.address, calls, rounds)
        for slots, jobs in ((1, count // 5), (10, count), (50, count * 2), (200, count * 4)):
            await work(server.address, jobs, rounds, slots)
    finally:
        server.stop()
        server.remove()


if __name__ == "__main__":
    asyncio.run(main())
