"""Measures what the SDK costs beside loops on bare grpc.aio that call the same methods, and how many jobs a worker process runs.

    HAULIER_BIN=../target/release/haulier python benchmarks/bench.py [--quick] [--slots 1,10] [--rounds 4]

Method: a private server on SQLite. The loops take turns in one run, each round all of them. The median of the rounds counts, for
calls/s, for CPU by `getrusage` of this process (all its threads, not the server), and for what the SDK adds to another loop in
the same round, with its least and its most.

Enqueue: 50 calls at once, the same command and request.

Worker: jobs that wait already are claimed, run by a handler that does nothing, and reported. CPU is told for each job and for
each call of ClaimJob. The SDK's worker stands beside two others, which have no heartbeats and no retries:

- `bare` is the least that calls the same methods: it claims as many at once as the SDK, reports each claim by the same two
  messages on ReportJobs (received, then an outcome for each job) and reads the acknowledgements. It has no handlers and no slots,
  and does one thing after the other.
- `by hand` is what one would write in place of the SDK: a task for each job that gives its arguments to a handler and catches its
  errors, as many at once as there are slots; outcomes that are ready together go in one message, and wait for no claim.

The more slots, the more jobs, so that start and end of the worker weigh little.
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
from statistics import median
from typing import Any

import grpc.aio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from server import RealServer

from haulier import Client, EnqueueItem, JobOptions, Worker
from haulier import _methods as methods
from haulier._session import Session
from haulier.v1 import job_service_pb2, lease_pb2, payload_pb2, report_pb2
from haulier.v1 import worker_service_pb2 as pb

AT_ONCE = 50


def cpu() -> float:
    """Seconds of CPU that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Measured:
    """What the rounds of one loop took, for each call or job: seconds, seconds of CPU, and those for each claim."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.cpu_per_claim: list[float] = []

    async def round(self, count: int, work: Callable[[], Awaitable[object]]) -> None:
        """One round of so many calls or jobs."""
        began, used = time.perf_counter(), cpu()
        await work()
        self.cpu.append((cpu() - used) / count)
        self.wall.append((time.perf_counter() - began) / count)

    def __str__(self) -> str:
        claim = f" ({median(self.cpu_per_claim) * 1e6:.0f} a claim)" if self.cpu_per_claim else ""
        return f"{1 / median(self.wall):.0f}/s {median(self.cpu) * 1e6:.1f} us CPU{claim}"

    def added_to(self, other: Measured) -> str:
        """CPU that this loop takes more than another in the same round."""
        more = [mine / its - 1 for mine, its in zip(self.cpu, other.cpu, strict=True)]
        return f"{median(more):.0%} ({min(more):.0%} to {max(more):.0%})"


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
    measured = {"bare": Measured(), "by hand": Measured(), "SDK": Measured()}
    for _ in range(rounds):
        for kind, one in measured.items():
            async with Client(address) as client:
                await fill(client, queue, jobs)
            command = [sys.executable, __file__, "--worker", kind, address, queue, str(jobs), str(slots)]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            answer, _ = await process.communicate()
            wall, used, claims = json.loads(answer)
            one.wall.append(wall)
            one.cpu.append(used)
            one.cpu_per_claim.append(used * jobs / claims)
    tell(f"no-op worker, {slots} slots", measured)


async def be_worker(kind: str, address: str, queue: str, jobs: int, slots: int) -> None:
    """Runs the jobs in this process, and prints seconds and seconds of CPU for each, and how often it claimed."""
    measured = Measured()
    claims = 0

    async def run() -> None:
        nonlocal claims
        claims = await WORKERS[kind](address, queue, jobs, slots)

    await measured.round(jobs, run)
    print(json.dumps([*measured.wall, *measured.cpu, claims]))


async def fill(client: Client, queue: str, jobs: int) -> None:
    """Stores the jobs to be run."""
    item = EnqueueItem(command="noop", request={"a": 1}, options=JobOptions(queue=queue))
    for begin in range(0, jobs, 1_000):
        await client.enqueue_batch([item] * min(1_000, jobs - begin))


class Calls:
    """The calls of a worker process on bare grpc.aio."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.session_id = ""
        self.stored = 0
        """Outcomes that are acknowledged."""
        self.claims = 0
        self._claim = opened(channel, methods.CLAIM_JOB)
        self._channel = channel

    async def register(self, queue: str, jobs: int, slots: int) -> None:
        """Registers, and opens the stream of reports."""
        registration = pb.RegisterWorkerRequest(name="bare", instance_id=str(uuid.uuid4()), queues=[queue], slots=slots)
        registration.commands.add(command="noop")
        self.session_id = (await opened(self._channel, methods.REGISTER_WORKER)(registration)).session_id
        self.stream = opened(self._channel, methods.REPORT_JOBS, "stream_stream")()
        await self.stream.write(pb.ReportJobsRequest(session_id=self.session_id))
        self._reading = asyncio.create_task(self._read(jobs))

    async def claim(self, most: int) -> Any:
        """Claims jobs, and says that they have arrived."""
        self.claims += 1
        request = pb.ClaimJobRequest(
            session_id=self.session_id, sequence=self.claims, ack_sequence=self.claims - 1, max_jobs=most, wait={"seconds": 20}
        )
        return await self._claim(request)

    def received(self) -> pb.ReportJobsRequest:
        """The message which says that the answer has arrived."""
        report = pb.ReportJobsRequest()
        report.received.add(loop=0, sequence=self.claims)
        return report

    async def _read(self, jobs: int) -> None:
        async for answer in self.stream:
            self.stored += sum(ack.outcome_stored for ack in answer.acks)
            if self.stored >= jobs:
                return

    async def end(self) -> int:
        """Waits until everything is stored, and unregisters. How often it claimed."""
        await self._reading
        await self.stream.done_writing()
        await opened(self._channel, methods.UNREGISTER_WORKER)(pb.UnregisterWorkerRequest(session_id=self.session_id))
        return self.claims


async def bare_worker(address: str, queue: str, jobs: int, slots: int) -> int:
    """The least that a worker can do."""
    async with grpc.aio.insecure_channel(address) as channel:
        calls = Calls(channel)
        await calls.register(queue, jobs, slots)
        done = 0
        while done < jobs:
            answer = await calls.claim(slots)
            await calls.stream.write(calls.received())
            report = pb.ReportJobsRequest()
            for job in answer.jobs:
                json.loads(job.request.json)
                report.outcomes.add(lease=job.lease).complete.result.json = "null"
            await calls.stream.write(report)
            done += len(answer.jobs)
        return await calls.end()


async def by_hand_worker(address: str, queue: str, jobs: int, slots: int) -> int:
    """The worker that one would write by hand."""
    async with grpc.aio.insecure_channel(address) as channel:
        calls = Calls(channel)
        await calls.register(queue, jobs, slots)
        tasks: set[asyncio.Task[None]] = set()
        ended: list[report_pb2.OutcomeReport] = []
        moved, freed, writing = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        busy = 0

        async def noop(a: int) -> None:
            pass

        async def run(job: lease_pb2.LeasedJob) -> None:
            nonlocal busy
            outcome = report_pb2.OutcomeReport(lease=job.lease)
            try:
                result: Any = await noop(**json.loads(job.request.json))  # type: ignore[func-returns-value]
                outcome.complete.result.json = json.dumps(result)
            except Exception as error:
                outcome.fail.code, outcome.fail.message = type(error).__name__, str(error)
            ended.append(outcome)
            busy -= 1
            moved.set()
            freed.set()

        async def tell_outcomes() -> None:
            told = 0
            while told < jobs:
                await moved.wait()
                moved.clear()
                told += len(ended)
                report = pb.ReportJobsRequest(outcomes=ended)
                ended.clear()
                async with writing:
                    await calls.stream.write(report)

        telling = asyncio.create_task(tell_outcomes())
        claimed = 0
        while claimed < jobs:
            while busy == slots:
                freed.clear()
                await freed.wait()
            answer = await calls.claim(slots - busy)
            async with writing:
                await calls.stream.write(calls.received())
            claimed += len(answer.jobs)
            busy += len(answer.jobs)
            for job in answer.jobs:
                task = asyncio.create_task(run(job))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        await telling
        return await calls.end()


async def sdk_worker(address: str, queue: str, jobs: int, slots: int) -> int:
    """The worker of the SDK, from its start to its end."""
    worker = Worker(address, queues=[queue], slots=slots)
    sessions: set[Session] = set()
    done = 0

    @worker.command
    async def noop(a: int) -> None:
        nonlocal done
        done += 1
        if done == jobs:
            assert worker._running is not None
            assert worker._running._session is not None
            sessions.add(worker._running._session)
            worker.drain()

    await worker.run(handle_signals=False)
    return sum(session._claim.received for session in sessions)


WORKERS = {"bare": bare_worker, "by hand": by_hand_worker, "SDK": sdk_worker}


def tell(what: str, measured: dict[str, Measured]) -> None:
    """Prints a comparison."""
    sdk = measured["SDK"]
    others = {name: one for name, one in measured.items() if one is not sdk}
    adds = ", ".join(f"{sdk.added_to(one)} CPU to {name}" for name, one in others.items())
    print(f"{what}: {'; '.join(f'{name} {one}' for name, one in measured.items())}; the SDK adds {adds}", flush=True)


def numbers(text: str) -> list[int]:
    """Numbers of slots, as they are given."""
    return [int(one) for one in text.split(",")]


async def main() -> None:
    """Measures everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    parser.add_argument("--slots", type=numbers, help="numbers of slots of the worker, such as 1,10; without enqueue")
    parser.add_argument("--rounds", type=int, help="rounds of which the median counts")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        kind, address, queue, jobs, slots = arguments.worker
        return await be_worker(kind, address, queue, int(jobs), int(slots))
    quick = arguments.quick
    calls, count, rounds = (200, 200, 1) if quick else (5_000, 5_000, 9)
    rounds = arguments.rounds or rounds
    server = RealServer()
    server.start()
    try:
        if not arguments.slots:
            await enqueue(server.address, calls, rounds)
        for slots in arguments.slots or (1, 10, 50, 200):
            jobs = {1: count // 2, 10: count * 3}.get(slots, count * 6 if slots < 100 else count * 12)
            await work(server.address, jobs, rounds, slots)
    finally:
        server.stop()
        server.remove()


if __name__ == "__main__":
    asyncio.run(main())
