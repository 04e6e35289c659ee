"""Against the real server: what it has works end to end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from running import running
from server import RealServer
from test_worker_protocol import until

import haulier.sync
from haulier import (
    AlreadyExistsError,
    AttemptOutcome,
    Backoff,
    CancelResult,
    Client,
    Dependency,
    EnqueuedJob,
    EnqueueItem,
    HistoryState,
    InvalidArgumentError,
    Job,
    JobCancelledError,
    JobFailedError,
    JobFilter,
    JobOptions,
    JobState,
    LockLostError,
    LogLevel,
    NonRetryable,
    NotFoundError,
    PriorityName,
    RateLimit,
    RecurringTask,
    RefIdPolicy,
    RetryAfter,
    RetryPolicy,
    Schedule,
    ServerState,
    SnapshotEvent,
    Worker,
)

NOW = RetryPolicy(backoff=Backoff.FIXED, first_delay=timedelta(milliseconds=10))


@dataclass(frozen=True)
class Thumb:
    image: str
    width: int


@pytest.fixture
async def client(real: RealServer) -> Any:
    async with Client(real.address, timeout=timedelta(seconds=10)) as client:
        yield client


@pytest.fixture
def queue() -> str:
    return f"q-{uuid.uuid4()}"


async def test_hello_with_progress_logs_and_checkpoint(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])
    watched = asyncio.Event()

    @worker.command
    async def resize(job: Job, image: str, width: int) -> Thumb:
        await watched.wait()  # what is told before the watch begins is in its first event
        await job.progress(0.25, "a quarter")
        for number in range(120):
            job.log(f"line {number}", level=LogLevel.DEBUG, fields={"n": number})
        await job.save_checkpoint({"at": 120})
        await asyncio.sleep(0.2)
        return Thumb(image, width)

    async with running(worker):
        job = await client.enqueue(resize, {"image": "cat", "width": 7}, JobOptions(queue=queue, tag="hello"))
        events = []
        async for event in client.watch(job):
            watched.set()
            events.append(event)
        assert await client.wait(job, result_type=Thumb) == Thumb("cat", 7)
    lines = [line for event in events if event.kind == "logs" for line in event.lines]
    assert [line.message for line in lines] == [f"line {n}" for n in range(120)]
    assert lines[5].fields == {"n": "5"}
    assert any(event.kind == "progress" and event.status == "a quarter" for event in events)
    assert isinstance(events[-1], SnapshotEvent)
    full = await client.get(job)
    assert full.state is JobState.COMPLETED
    assert full.request is not None
    assert full.request.value == {"image": "cat", "width": 7}
    assert full.options.tag == "hello"
    assert len([line async for line in client.list_logs(job.id)]) == 120
    assert [attempt.attempt async for attempt in client.list_attempts(job.id)] == [1]


async def test_a_retry_then_success_and_retry_after_and_checkpoint(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])
    seen: list[Any] = []

    @worker.command
    async def flaky(job: Job) -> int:
        seen.append((job.attempt, job.checkpoint))
        if job.attempt == 1:
            await job.save_checkpoint("half")
            raise ValueError("first")
        if job.attempt == 2:
            raise RetryAfter(timedelta(milliseconds=20), "second")
        return job.attempt

    async with running(worker):
        job = await client.enqueue(flaky, options=JobOptions(queue=queue, retry_policy=NOW))
        assert await client.wait(job, timeout=timedelta(seconds=10)) == 3
    assert seen == [(1, None), (2, "half"), (3, "half")]


async def test_failures_carry_code_message_stack_and_attempts(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])

    @worker.command
    def fails(job: Job, kind: str) -> None:
        if kind == "never":
            raise NonRetryable("no account", code="NO_ACCOUNT")
        raise KeyError("always")

    async with running(worker):
        options = JobOptions(queue=queue, retry_policy=NOW)
        with pytest.raises(JobFailedError) as never:
            await client.wait(await client.enqueue(fails, {"kind": "never"}, options))
        with pytest.raises(JobFailedError) as always:
            await client.wait(await client.enqueue(fails, {"kind": "x"}, options))
        with pytest.raises(JobFailedError) as unreadable:
            await client.wait(await client.enqueue(fails, {"kind": 5}, options))
    assert (never.value.error_code, never.value.failure, len(never.value.attempts)) == ("NO_ACCOUNT", "non_retryable", 1)
    assert (always.value.error_code, always.value.attempt_count, len(always.value.attempts)) == ("KeyError", 3, 3)
    assert "raise KeyError" in always.value.stack
    assert (unreadable.value.failure, unreadable.value.attempt_count) == ("unreadable_request", 1)


async def test_a_timeout_fails_the_attempt(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])

    @worker.command
    async def slow(job: Job) -> None:
        await asyncio.sleep(30)

    options = JobOptions(queue=queue, timeout=timedelta(seconds=1), retry_policy=RetryPolicy(retry_limit=0))
    async with running(worker):
        with pytest.raises(JobFailedError) as failed:
            await client.wait(await client.enqueue(slow, options=options), timeout=timedelta(seconds=8))
    assert failed.value.failure == "timeout"


@pytest.mark.parametrize("sync", [False, True])
async def test_a_running_job_is_cancelled_within_a_second(client: Client, queue: str, sync: bool) -> None:
    worker = Worker(client.address, queues=[queue])
    began = asyncio.Event()
    loop = asyncio.get_running_loop()
    reasons: list[str] = []

    @worker.command
    async def wait(job: Job) -> None:
        began.set()
        try:
            await asyncio.sleep(30)
        finally:
            reasons.append(job.stop.reason if job.stop else "")

    @worker.command
    def wait_sync(job: Job) -> None:
        loop.call_soon_threadsafe(began.set)
        try:
            job.sleep(30)
        finally:
            reasons.append(job.stop.reason if job.stop else "")

    async with running(worker):
        job = await client.enqueue(wait_sync if sync else wait, options=JobOptions(queue=queue))
        await asyncio.wait_for(began.wait(), 5)
        at = time.monotonic()
        assert (await client.cancel(job, "enough")).result is CancelResult.REQUESTED
        with pytest.raises(JobCancelledError) as cancelled:
            await client.wait(job, timeout=timedelta(seconds=5))
        assert time.monotonic() - at < 1.0
    assert cancelled.value.cancel_reason == "client"
    assert reasons == ["enough"]


async def test_a_job_that_is_cancelled_before_its_handler_begins_ends_at_once(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue], slots=2)
    options = JobOptions(queue=queue)
    blocked = threading.Event()

    @worker.command
    async def block() -> None:
        blocked.set()
        time.sleep(3)  # the handler of the next job cannot begin

    @worker.command
    async def late() -> None:
        await asyncio.sleep(60)

    def meddle() -> int:
        assert blocked.wait(20)
        with haulier.sync.Client(client.address) as other:
            job = other.enqueue(late, options=options)
            while other.get(job).state is not JobState.RUNNING:
                time.sleep(0.01)
            assert other.cancel(job).result is CancelResult.REQUESTED
            return job.id

    async with running(worker):
        meddling = asyncio.create_task(asyncio.to_thread(meddle))
        await asyncio.sleep(0)
        await client.enqueue(block, options=options)
        ended = await client.settled(await meddling, timeout=timedelta(seconds=8))
        assert ended.state is JobState.CANCELLED


async def test_a_waiting_job_is_cancelled_and_requeued(client: Client, queue: str) -> None:
    job = await client.enqueue("nobody", options=JobOptions(queue=queue, delay=timedelta(hours=1)))
    assert job.state is JobState.SCHEDULED
    assert (await client.cancel(job.ref_id)).result is CancelResult.CANCELLED
    assert (await client.cancel(job)).result is CancelResult.ALREADY_FINISHED
    again = await client.requeue(job.id, run=1)
    assert (again.created, again.job.run) == (True, 2)
    assert not (await client.requeue(job.id, run=1)).created
    worker = Worker(client.address, queues=[queue])

    @worker.command("nobody")
    async def somebody(job: Job) -> int:
        return job.run

    async with running(worker):
        assert await client.wait(job, timeout=timedelta(seconds=5)) == 2


async def test_a_ref_id_is_unique(client: Client, queue: str) -> None:
    ref_id = f"order-{uuid.uuid4()}"
    first = await client.enqueue("x", {"a": 1}, JobOptions(queue=queue, ref_id=ref_id))
    with pytest.raises(AlreadyExistsError) as taken:
        await client.enqueue("x", {"a": 1}, JobOptions(queue=queue, ref_id=ref_id))
    assert (taken.value.reason, taken.value.job_id) == ("REF_ID_TAKEN", first.id)
    same = JobOptions(queue=queue, ref_id=ref_id, ref_id_policy=RefIdPolicy.RETURN_EXISTING)
    again = await client.enqueue("x", {"a": 1}, same)
    assert (again.id, again.created) == (first.id, False)
    with pytest.raises(AlreadyExistsError):
        await client.enqueue("x", {"a": 2}, same)
    assert (await client.get(ref_id)).summary.id == first.id


async def test_a_repeated_request_id_stores_once(client: Client, queue: str) -> None:
    request_id = str(uuid.uuid4())
    options = JobOptions(queue=queue)
    first = await client.enqueue("x", 1, options, request_id=request_id)
    again = await client.enqueue("x", 1, options, request_id=request_id)
    assert (first.id, first.created, again.id, again.created) == (again.id, True, first.id, False)


async def test_delay_priority_and_expiry(client: Client, queue: str) -> None:
    order: list[str] = []
    base = JobOptions(queue=queue)
    from dataclasses import replace

    await client.enqueue("note", "low", replace(base, priority_name=PriorityName.LOW))
    await client.enqueue("note", "high", replace(base, priority_name=PriorityName.HIGH))
    late = await client.enqueue("note", "late", replace(base, priority=30, delay=timedelta(seconds=0.7)))
    expired = await client.enqueue(
        "unserved", options=replace(base, expire_time=datetime.now(timezone.utc) + timedelta(seconds=0.5))
    )
    worker = Worker(client.address, queues=[queue], slots=1)

    @worker.command
    async def note(job: Job, request: str) -> None:
        order.append(request)

    async with running(worker):
        await client.wait(late, timeout=timedelta(seconds=8))
        assert order == ["high", "low", "late"]
        with pytest.raises(JobCancelledError) as cancelled:
            await client.wait(expired, timeout=timedelta(seconds=8))
    assert cancelled.value.cancel_reason == "expired"


async def test_user_context_args_and_children(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])
    seen: list[Any] = []

    @worker.command
    async def parent(job: Job) -> int:
        seen.append((job.user_id, job.user_claims, job.args))
        child = await job.enqueue("child", options=JobOptions(queue=queue))
        return child.id

    @worker.command
    def child(job: Job) -> list[Any]:
        return [job.user_id, job.options.parent_id]

    options = JobOptions(queue=queue, user_id="ann", user_claims={"role": "admin"}, args={"a": "b"}, created_by="test")
    async with running(worker):
        job = await client.enqueue(parent, options=options)
        child_id = await client.wait(job, timeout=timedelta(seconds=5))
        assert await client.wait(child_id, timeout=timedelta(seconds=5)) == ["ann", job.id]
    assert seen == [("ann", {"role": "admin"}, {"a": "b"})]
    assert (await client.get(job)).summary.created_by == "test"


async def test_a_watch_is_resumed_with_its_token(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])
    go = asyncio.Event()

    @worker.command
    async def talk(job: Job) -> None:
        for number in range(10):
            await job.log(f"line {number}")
            if number == 4:
                await go.wait()

    async with running(worker):
        job = await client.enqueue(talk, options=JobOptions(queue=queue))
        lines: list[str] = []
        token = ""
        async for event in client.watch(job):
            token = event.resume_token
            if event.kind == "logs":
                lines += [line.message for line in event.lines]
            if len(lines) == 5:
                break
        go.set()
        async for event in client.watch(job, resume_token=token):
            if event.kind == "logs":
                lines += [line.message for line in event.lines]
    assert lines == [f"line {n}" for n in range(10)]


async def test_lists_and_watch_jobs_filter(client: Client, queue: str) -> None:
    jobs = [await client.enqueue("listed", n, JobOptions(queue=queue)) for n in range(5)]
    listed = [job.id async for job in client.list_jobs(JobFilter(queue=queue, states=(JobState.QUEUED,)))]
    assert listed == [job.id for job in reversed(jobs)]
    assert len([job async for job in client.list_jobs(JobFilter(queue=queue), limit=3)]) == 3

    async def first_cancelled() -> int:
        async for event in client.watch_jobs(JobFilter(queue=queue)):
            if event.kind == "job" and event.job.state is JobState.CANCELLED:
                return event.job.id
            if event.kind == "synced":
                assert event.job_count == 5
                await client.cancel(jobs[0])
        return 0

    assert await asyncio.wait_for(first_cancelled(), 5) == jobs[0].id


async def test_workers_are_listed_and_drained(client: Client, queue: str) -> None:
    name = f"w-{uuid.uuid4()}"
    worker = Worker(client.address, name=name, queues=[queue], slots=7, labels={"zone": "a"})

    @worker.command(version="3")
    async def served() -> None: ...

    async with running(worker) as task:
        found = [one async for one in client.list_workers(queue=queue)]
        assert [(one.name, one.slots, one.labels, one.commands[0].version) for one in found] == [(name, 7, {"zone": "a"}, "3")]
        await client.wait(await client.enqueue(served, options=JobOptions(queue=queue)))  # its report stream is open by then
        assert len(await client.drain_worker(name, reason="update", grace=timedelta(seconds=5))) == 1
        await asyncio.wait_for(task, 5)


async def test_bad_input_is_a_typed_error(client: Client, queue: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await client.enqueue("no such name!", options=JobOptions(queue=queue, priority=99))
    assert {"command", "options.priority"} <= {field.field for field in caught.value.fields}
    with pytest.raises(InvalidArgumentError):
        await client.enqueue("x", "y" * (2 << 20), JobOptions(queue=queue))
    with pytest.raises(NotFoundError):
        await client.get(999_999_999_999)
    assert await client.find("no-such-ref") is None
    with pytest.raises(NotFoundError):
        async for _ in client.watch(999_999_999_999):
            pass
    worker = Worker(client.address, queues=["no such queue!"])

    @worker.command
    async def served() -> None: ...

    with pytest.raises(InvalidArgumentError, match="register_worker"):
        await worker.run(handle_signals=False)


async def test_a_result_that_the_server_refuses_fails_the_job_at_once(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])

    @worker.command
    async def big() -> str:
        return "x" * (2 << 20)

    async with running(worker):
        with pytest.raises(JobFailedError) as failed:
            await client.wait(await client.enqueue(big, options=JobOptions(queue=queue)), timeout=timedelta(seconds=8))
    assert (failed.value.error_code, failed.value.attempt_count) == ("UNSTORABLE_RESULT", 1)


async def test_the_last_checkpoint_and_progress_stay_with_a_completed_job(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])

    @worker.command
    async def work(job: Job) -> None:
        await job.progress(0.5)
        await job.save_checkpoint({"at": 1})

    async with running(worker):
        job = await client.enqueue(work, options=JobOptions(queue=queue))
        await client.wait(job, timeout=timedelta(seconds=5))
    full = await client.get(job)
    assert full.completed
    assert full.completed.checkpoint
    assert full.completed.checkpoint.value == {"at": 1}


async def test_the_error_of_the_attempt_before_reaches_the_handler(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])

    @worker.command
    async def flaky(job: Job) -> str:
        if job.attempt == 1:
            raise ValueError("first")
        return job.last_error.code if job.last_error else ""

    async with running(worker):
        job = await client.enqueue(flaky, options=JobOptions(queue=queue, retry_policy=NOW))
        assert await client.wait(job, timeout=timedelta(seconds=5)) == "ValueError"


async def test_a_worker_process_tells_its_sdk(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])

    @worker.command
    async def served() -> None: ...

    async with running(worker):
        found = [one async for one in client.list_workers(queue=queue)]
    assert (found[0].sdk or "").startswith("haulier-python/")


async def test_an_unstorable_result_has_a_reason_of_its_own(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])

    @worker.command
    async def odd() -> object:
        return object()

    async with running(worker):
        with pytest.raises(JobFailedError) as failed:
            await client.wait(await client.enqueue(odd, options=JobOptions(queue=queue)), timeout=timedelta(seconds=5))
    assert failed.value.failure == "unstorable_result"


async def test_run_command(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])

    @worker.command
    async def double(n: int) -> int:
        if n < 0:
            raise ValueError("negative")
        return n * 2

    options = JobOptions(queue=queue)
    async with running(worker):
        assert await client.run_command(double, {"n": 4}, options) == 8
        with pytest.raises(JobFailedError, match="negative"):
            await client.run_command(double, {"n": -1}, options)


async def test_a_run_that_is_over_its_timeout_says_so(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])

    @worker.command
    async def endless() -> None:
        await asyncio.Event().wait()

    async with running(worker):
        with pytest.raises(JobFailedError) as caught:
            await client.run_command(endless, options=JobOptions(queue=queue, timeout=timedelta(seconds=1)))
    assert caught.value.failure == "timeout"


async def test_limits_of_a_queue_are_set_and_lifted_one_by_one(client: Client, queue: str) -> None:
    rate = RateLimit(count=7, period=timedelta(minutes=1))
    both = await client.update_queue(queue, concurrency_limit=2, rate_limit=rate)
    assert (both.concurrency_limit, both.rate_limit) == (2, rate)
    one = await client.update_queue(queue, concurrency_limit=None)
    assert (one.concurrency_limit, one.rate_limit) == (None, rate)
    assert await client.get_queue(queue) == one
    with pytest.raises(InvalidArgumentError):
        await client.update_queue(queue)
    with pytest.raises(InvalidArgumentError) as caught:
        await client.update_queue(queue, concurrency_limit=-1)
    assert "concurrency_limit" in caught.value.fields[0].field


async def test_a_concurrency_limit_is_never_exceeded(client: Client, queue: str) -> None:
    await client.update_queue(queue, concurrency_limit=2)
    worker = Worker(client.address, queues=[queue], slots=10)
    now, most = 0, 0

    @worker.command
    async def count() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1

    async with running(worker):
        jobs = [await client.enqueue(count, options=JobOptions(queue=queue)) for _ in range(8)]
        for job in jobs:
            await client.wait(job, timeout=timedelta(seconds=20))
    assert most == 2


async def test_what_operators_see(client: Client, queue: str) -> None:
    name = f"seen-{uuid.uuid4()}"
    worker = Worker(client.address, name=name, queues=[queue])

    @worker.command(name, worker="alone", version="7")
    async def seen() -> None: ...

    async with running(worker):
        await client.wait(await client.enqueue(seen, options=JobOptions(queue=queue)), timeout=timedelta(seconds=10))
        listed = [command async for command in client.list_commands(name_prefix=name)]
        assert [(command.name, command.worker, command.versions) for command in listed] == [(name, "alone", ("7",))]
        overview = await client.get_overview(hours=1)
        assert overview.worker_count >= 1
        assert overview.slot_count >= 10
        assert len(overview.hours) == 1
        assert overview.time is not None
    servers = [server async for server in client.list_servers()]
    assert [(server.is_self, server.state) for server in servers] == [(True, ServerState.ACTIVE)]
    months = [month async for month in client.list_history_months()]
    assert months[0].state is HistoryState.OPEN
    with pytest.raises(haulier.FailedPreconditionError):
        await client.drop_history_month(months[0].month)


async def test_a_recurring_task_runs_a_command_now(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])
    ran = asyncio.Event()
    seen: list[tuple[bool, str | None]] = []

    @worker.command
    async def tick(job: Job) -> None:
        seen.append((job.transient, job.recurring_task))
        ran.set()

    name = f"tick-{queue}"
    task = RecurringTask(
        name=name,
        schedule=Schedule(interval=timedelta(seconds=1)),
        command="tick",
        options=JobOptions(queue=queue),
        run_command=True,
    )
    async with running(worker):
        await client.put_recurring_task(task)
        await asyncio.wait_for(ran.wait(), 20)
        await client.delete_recurring_task(name)
    assert seen[0] == (True, name)


async def test_a_batch_with_dependencies(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue])

    @worker.command
    async def one() -> int:
        return 1

    @worker.command
    async def two(job: Job) -> int:
        assert job.parent
        assert job.parent.result
        return int(job.parent.result.value) + 1

    options = JobOptions(queue=queue)
    after = JobOptions(queue=queue, depends_on=(Dependency(local_key="a"),))
    items = [EnqueueItem(command=one, options=options, local_key="a"), EnqueueItem(command=two, options=after)]
    async with running(worker):
        batch = await client.enqueue_batch(items)
        assert await client.wait(batch.jobs[1], timeout=timedelta(seconds=5)) == 2
        assert (await client.get_batch(batch.batch_id)).counts.completed == 2


async def test_a_named_worker_runs_one_at_a_time_in_order(client: Client, queue: str) -> None:
    options = JobOptions(queue=queue, worker=f"lane-{queue}")
    first = await client.enqueue("lane", 0, options)
    jobs = [first, *[await client.enqueue("lane", n, options) for n in range(1, 5)]]
    order: list[int] = []
    worker = Worker(client.address, queues=[queue])

    @worker.command
    async def lane(job: Job, request: int) -> None:
        order.append(request)
        await asyncio.sleep(0.01)
        assert order[-1] == request

    async with running(worker):
        for job in jobs:
            await client.wait(job, timeout=timedelta(seconds=5))
    assert order == [0, 1, 2, 3, 4]


async def test_a_lock_is_exclusive(client: Client, queue: str) -> None:
    lock = client.lock(f"lock-{queue}")
    assert await lock.acquire()
    other = client.lock(f"lock-{queue}")
    assert not await other.acquire(timedelta(0))
    token = lock.fencing_token
    await lock.release()
    async with other:
        assert other.fencing_token > token


async def test_a_lock_is_handed_on_by_its_key(client: Client, queue: str) -> None:
    lock = client.lock(f"lock-{queue}", lease_time=timedelta(seconds=5))
    assert await lock.acquire()
    key = await lock.detach()
    assert key is not None
    assert not lock.held
    assert await lock.detach() is None
    assert await client.renew_lock(key, timedelta(seconds=30)) == timedelta(seconds=30)
    assert not await client.lock(f"lock-{queue}").acquire(timedelta(0))
    assert await client.release_lock(key)
    assert not await client.release_lock(key)
    with pytest.raises(LockLostError):
        await client.renew_lock(key)


async def test_a_lock_outlives_code_that_blocks_the_event_loop_for_longer_than_its_lease(client: Client, queue: str) -> None:
    async with client.lock(f"lock-{queue}", lease_time=timedelta(seconds=5)) as lock:
        time.sleep(6.5)  # nothing renews it in this thread
        lock.check()
        assert not await client.lock(f"lock-{queue}").acquire(timedelta(0))


WORKER = """
import asyncio, sys
from datetime import timedelta
from haulier import Job, Worker

worker = Worker(sys.argv[1], queues=[sys.argv[2]], lease_time=timedelta(seconds=5), drain_timeout=timedelta(seconds=DRAIN))

@worker.command
async def hold(job: Job) -> str:
    if job.attempt > 1 or job.crashes:
        return "second"
    await job.log("held")
    await asyncio.sleep(30)
    return "first"

worker.run_forever()
"""


def worker_process(server: RealServer, queue: str, folder: Path, *, drain_seconds: float = 0.2) -> subprocess.Popen[bytes]:
    script = folder / "worker.py"
    script.write_text(WORKER.replace("DRAIN", str(drain_seconds)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HAULIER_")}
    return subprocess.Popen([sys.executable, str(script), server.address, queue], env=environment)


async def held(client: Client, job: EnqueuedJob) -> None:
    async for event in client.watch(job):
        if event.kind == "logs":
            return


async def test_sigterm_gives_the_job_back_without_spending_the_attempt(
    client: Client, real: RealServer, queue: str, tmp_path: Path
) -> None:
    process = worker_process(real, queue, tmp_path)
    try:
        job = await client.enqueue("hold", options=JobOptions(queue=queue))
        await asyncio.wait_for(held(client, job), 10)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 8) == 0
        summary = (await client.get(job)).summary
        assert summary.state is JobState.QUEUED
        attempts = [attempt async for attempt in client.list_attempts(job.id)]
        assert [(attempt.attempt, attempt.outcome) for attempt in attempts] == [(1, "released")]
    finally:
        process.kill()
        process.wait()


async def test_a_second_signal_stops_handlers_at_once(client: Client, real: RealServer, queue: str, tmp_path: Path) -> None:
    process = worker_process(real, queue, tmp_path, drain_seconds=60)
    try:
        job = await client.enqueue("hold", options=JobOptions(queue=queue))
        await asyncio.wait_for(held(client, job), 10)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 1)
        assert (await client.get(job)).state is JobState.RUNNING, "the first signal lets it go on"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 8) == 0
        assert (await client.get(job)).state is JobState.QUEUED
    finally:
        process.kill()
        process.wait()


async def test_a_killed_worker_process_loses_nothing(client: Client, real: RealServer, queue: str, tmp_path: Path) -> None:
    process = worker_process(real, queue, tmp_path)
    other = Worker(client.address, queues=[queue])

    @other.command
    async def hold(job: Job) -> str:
        assert job.crashes == 1
        return "recovered"

    try:
        job = await client.enqueue("hold", options=JobOptions(queue=queue))
        await asyncio.wait_for(held(client, job), 10)
        process.kill()
        process.wait()
        async with running(other):
            assert await client.wait(job, timeout=timedelta(seconds=15)) == "recovered"
    finally:
        process.kill()
        process.wait()


async def test_a_server_killed_under_way_loses_no_job_and_no_worker(queue: str) -> None:
    server = RealServer()
    server.start()
    worker = Worker(server.address, queues=[queue], slots=4)
    ran: list[int] = []

    @worker.command
    async def work(job: Job, request: int) -> int:
        await asyncio.sleep(0.05)
        await job.log("ran")
        ran.append(request)
        return request

    try:
        async with Client(server.address, timeout=timedelta(seconds=15)) as client, running(worker):
            jobs = [await client.enqueue(work, n, JobOptions(queue=queue)) for n in range(40)]
            await until(lambda: len(ran) > 4)
            server.kill()
            await asyncio.sleep(0.2)
            server.start()
            at = time.monotonic()
            results = [await client.wait(job, timeout=timedelta(seconds=15)) for job in jobs]
            assert results == list(range(40))
            assert time.monotonic() - at < 10
            after = await client.enqueue(work, 99, JobOptions(queue=queue))
            assert await client.wait(after, timeout=timedelta(seconds=5)) == 99
            for job in jobs:
                attempts = [attempt async for attempt in client.list_attempts(job.id)]
                # An answer that was lost with the server goes back unspent; nothing else may have happened.
                assert {attempt.outcome for attempt in attempts[:-1]} <= {AttemptOutcome.NOT_RECEIVED}
                assert (attempts[-1].outcome, attempts[-1].attempt) == (AttemptOutcome.COMPLETED, 1)
    finally:
        server.stop()
        server.remove()
    assert sorted(set(ran)) == [*range(40), 99]


async def test_heartbeats_go_on_while_handlers_block_for_longer_than_the_lease(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue], lease_time=timedelta(seconds=5))

    @worker.command
    async def block_the_loop() -> None:
        time.sleep(10)

    @worker.command
    def spin() -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            pass

    options = JobOptions(queue=queue, strict=True)
    direct = await asyncio.to_thread(haulier.sync.Client, client.address)
    jobs = [await client.enqueue(command, options=options) for command in (block_the_loop, spin)]
    async with running(worker):
        for job in jobs:
            await client.wait(job, timeout=timedelta(seconds=20))
    for job in jobs:
        attempts = await asyncio.to_thread(list, direct.list_attempts(job.id))
        assert [attempt.outcome for attempt in attempts] == ["completed"]
    await asyncio.to_thread(direct.close)


async def test_cancels_arrive_during_and_after_a_blocked_event_loop(client: Client, queue: str) -> None:
    """The real server tells them where the worker process beats."""
    worker = Worker(client.address, queues=[queue], lease_time=timedelta(seconds=5))
    stopped = {name: threading.Event() for name in ("during", "after")}

    @worker.command
    def sleeps(job: Job, name: str) -> None:
        try:
            job.sleep(30)
        except haulier.Cancelled:
            stopped[name].set()
            raise

    @worker.command
    async def block(during: int) -> None:
        time.sleep(4)  # until the other thread beats
        with haulier.sync.Client(client.address) as direct:
            direct.cancel(during)
        assert stopped["during"].wait(3)

    options = JobOptions(queue=queue)
    async with running(worker):
        during = await client.enqueue(sleeps, {"name": "during"}, options)
        after = await client.enqueue(sleeps, {"name": "after"}, options)
        blocking = await client.enqueue(block, {"during": during.id}, options)
        await client.wait(blocking, timeout=timedelta(seconds=20))
        await client.cancel(after.id)
        began = time.monotonic()
        while not stopped["after"].is_set():
            assert time.monotonic() < began + 3, "the stream of the event loop hears of it again"
            await asyncio.sleep(0.02)
        for job in (during, after):
            while (read := await client.get(job.id)).state is not JobState.CANCELLED:
                assert time.monotonic() < began + 6, read.state
                await asyncio.sleep(0.05)


async def test_thousands_of_jobs_pass_through_one_worker(client: Client, queue: str) -> None:
    worker = Worker(client.address, queues=[queue], slots=200)
    done = 0
    everything = asyncio.Event()

    @worker.command
    async def nothing() -> None:
        nonlocal done
        done += 1
        if done == 1000:
            everything.set()

    options = JobOptions(queue=queue)
    await asyncio.gather(*[client.enqueue(nothing, None, options) for _ in range(1000)])
    async with running(worker):
        await asyncio.wait_for(everything.wait(), 20)
        await until(lambda: worker._running._session.reports.outcome_count == 0)  # type: ignore[union-attr]
    assert done == 1000
