"""Periodic and background workers, the log handler, and the test kit."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from datetime import timedelta
from typing import Any

import grpc
import pytest
from fake_server import FakeServer
from running import running
from test_worker_protocol import until

from haulier import (
    Client,
    CompletedJob,
    Dependency,
    InvalidArgumentError,
    Job,
    JobError,
    JobFailedError,
    JobLogHandler,
    JobOptions,
    JobResult,
    JobState,
    JobSummary,
    LockLostError,
    LogLevel,
    NonRetryable,
    OverlapPolicy,
    ParentResult,
    Payload,
    RecurringTask,
    RetryAfter,
    RunContext,
    Schedule,
    StopKind,
    UnreadableRequestError,
    Worker,
    _limits,
    current_job,
)
from haulier.testing import FakeJob, run_handler, run_handler_sync
from haulier.v1 import recurring_task_service_pb2

TICK = timedelta(seconds=0.02)


async def test_a_periodic_worker_counts_from_the_end_of_a_run_and_survives_errors(fake: FakeServer) -> None:
    worker = Worker(fake.address)
    running_now = 0
    contexts: list[RunContext] = []

    @worker.periodic(TICK, run_at_start=True)
    async def tick(context: RunContext) -> None:
        nonlocal running_now
        assert running_now == 0
        running_now += 1
        contexts.append(context)
        await asyncio.sleep(0.01)
        running_now -= 1
        if len(contexts) == 2:
            raise ValueError("caught and logged")

    async with running(worker):
        await until(lambda: len(contexts) >= 4)
    assert contexts[0] is not contexts[1]
    assert not fake.sessions  # no command: no session


async def test_a_periodic_worker_is_switched_off_and_on_and_ended(fake: FakeServer) -> None:
    worker = Worker(fake.address)
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1

    async with running(worker):
        handle = worker.add_periodic(tick, TICK)
        await until(lambda: count >= 2)
        handle.enabled = False
        await asyncio.sleep(0.05)
        seen = count
        await asyncio.sleep(0.08)
        assert count <= seen + 1
        handle.enabled = True
        await until(lambda: count > seen + 1)
        handle.end()
        await asyncio.sleep(0.05)
        seen = count
        await asyncio.sleep(0.06)
        assert count == seen


async def test_the_first_run_is_after_one_period(fake: FakeServer) -> None:
    worker = Worker(fake.address)
    count = 0

    @worker.periodic(timedelta(seconds=30))
    async def tick() -> None:
        nonlocal count
        count += 1

    async with running(worker):
        await asyncio.sleep(0.1)
    assert count == 0


async def test_periodic_workers_are_switched_off_by_the_environment(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAULIER_PERIODIC_ENABLED", "false")
    worker = Worker(fake.address)
    count = 0

    @worker.periodic(TICK, run_at_start=True)
    async def tick() -> None:
        nonlocal count
        count += 1

    async with running(worker):
        await asyncio.sleep(0.1)
    assert count == 0


async def test_a_background_worker_is_restarted_when_it_throws_and_stops_cleanly(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_limits, "BACKGROUND_DELAY_FIRST", 0.02)
    worker = Worker(fake.address)
    starts, clean = 0, []

    @worker.background()
    async def loop(context: RunContext) -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise ValueError("again")
        await context.stop.wait()
        clean.append(True)

    async with running(worker):
        await until(lambda: starts == 3)
    assert clean == [True]


async def test_a_singleton_runs_in_one_process_and_another_takes_over(fake: FakeServer) -> None:
    ran: list[str] = []

    def make(name: str) -> Worker:
        worker = Worker(fake.address, name=name)

        @worker.periodic(TICK, singleton="alone")
        async def tick(context: RunContext) -> None:
            assert context.lock
            assert context.lock.held
            ran.append(name)

        return worker

    async with running(make("b")):
        await until(lambda: ran)
        async with running(make("c")):
            await asyncio.sleep(0.15)
            assert set(ran) == {"b"}
            assert fake.locks
        ran.clear()
    assert not fake.locks
    async with running(make("c")):
        await until(lambda: "c" in ran)


async def test_a_singleton_stops_when_its_lock_is_lost(fake: FakeServer) -> None:
    worker = Worker(fake.address)
    states: list[str] = []

    @worker.background(singleton=True, name="alone", lease_time=timedelta(seconds=1.5))
    async def loop(context: RunContext) -> None:
        states.append("in")
        try:
            await context.stop.wait()
        finally:
            states.append("out")

    async with running(worker):
        await until(lambda: states)
        fake.locks["alone"] = "another"
        await until(lambda: "out" in states)


async def test_a_singleton_that_does_not_stop_keeps_its_lock_until_the_lease_is_over(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_limits, "DRAIN_STOP_GRACE", 0.1)
    worker = Worker(fake.address)
    began, release = threading.Event(), threading.Event()
    obeyed: list[int | None] = []

    @worker.periodic(TICK, run_at_start=True, singleton="deaf")
    def deaf() -> None:
        began.set()
        release.wait(10)

    @worker.periodic(TICK, run_at_start=True, singleton="obeys")
    def obeys(context: RunContext) -> None:
        obeyed.append(context.fencing_token)
        while not context.stopped:
            time.sleep(0.01)
        context.raise_if_stopped()

    async with running(worker) as task:
        await until(lambda: began.is_set() and obeyed)
        worker.drain()
        await asyncio.wait_for(task, 5)
    assert list(fake.locks) == ["deaf"], "its thread goes on, so nobody else may begin"
    assert obeyed == [7]
    release.set()


async def test_a_singleton_runs_at_start_each_time_it_takes_over(fake: FakeServer) -> None:
    worker = Worker(fake.address)
    runs: list[int] = []

    @worker.periodic(timedelta(hours=1), run_at_start=True, singleton="first", lease_time=timedelta(seconds=1.5))
    async def work(context: RunContext) -> None:
        runs.append(context.run)

    async with running(worker):
        await until(lambda: runs == [1])
        fake.locks["first"] = "another"
        await until(lambda: any(method == "AcquireLock" for method, _ in fake.calls[-1:]))
        del fake.locks["first"]
        await until(lambda: runs == [1, 2])


async def test_work_under_a_lock_ends_when_the_lock_is_lost(fake: FakeServer) -> None:
    ended: list[str] = []

    async def work(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        finally:
            ended.append("ended")
        return "done"

    async with Client(fake.address) as client, client.lock("one", lease_time=timedelta(seconds=2)) as lock:
        assert timedelta(0) < lock.time_left <= timedelta(seconds=2)
        assert await lock.while_held(work(0.01)) == "done"
        fake.locks["one"] = "another"
        with pytest.raises(LockLostError, match="was lost while work went on"):
            await lock.while_held(work(20))
        assert ended == ["ended", "ended"]
        assert lock.time_left == timedelta(0)


async def test_records_of_any_logger_reach_the_job(fake: FakeServer) -> None:
    worker = Worker(fake.address)
    log = logging.getLogger("shop.test")
    log.setLevel(logging.DEBUG)
    handler = JobLogHandler()
    log.addHandler(handler)

    @worker.command
    def work(job: Job) -> None:
        assert current_job() is job
        log.info("from %s", "sync")
        job.logger.warning("of the job")

    @worker.command
    async def work_async(job: Job) -> None:
        log.debug("from async")
        try:
            raise ValueError("inside")
        except ValueError:
            log.exception("caught")

    rows = [await fake.add("work"), await fake.add("work_async")]
    try:
        async with running(worker):
            await asyncio.wait_for(asyncio.gather(*(row.done.wait() for row in rows)), 5)
            log.info("from nowhere")
    finally:
        log.removeHandler(handler)
    assert rows[0].lines == ["from sync", "of the job"]
    assert rows[1].lines[0] == "from async"
    assert "ValueError: inside" in rows[1].lines[1]
    assert current_job() is None


# The test kit


async def resize(job: Job, image: str, width: int) -> dict[str, Any]:
    await job.progress(0.5, "half way")
    await job.log("begun", fields={"width": width})
    job.logger.warning("careful")
    await job.save_checkpoint([width])
    child = await job.enqueue("publish", {"image": image})
    job.enqueue_with_outcome("count")
    return {"image": image, "child": child.ref_id, "user": job.user_id, "before": job.checkpoint}


async def test_a_handler_runs_with_a_fake_job() -> None:
    run = await run_handler(
        resize,
        {"image": "cat", "width": 3},
        options=JobOptions(user_id="ann", user_claims={"role": "admin"}),
        checkpoint=[1],
        id=77,
    )
    assert run.outcome == "completed"
    assert run.result == {"image": "cat", "child": "fake-1", "user": "ann", "before": [1]}
    assert run.progress == [(0.5, "half way")]
    assert run.logs == ["begun", "careful"]
    assert run.job.logs[0].fields == {"width": "3"}
    assert run.job.logs[1].level is LogLevel.WARN
    assert run.job.checkpoints == [[3]]
    options = run.job.enqueued[0].options
    assert options is not None
    assert (options.parent_id, options.user_id, options.user_claims) == (77, "ann", {"role": "admin"})
    assert run.job.enqueued_with_outcome[0].command == "count"


def test_the_test_kit_shows_failures() -> None:
    def fails(kind: str) -> None:
        if kind == "never":
            raise NonRetryable("x")
        if kind == "later":
            raise RetryAfter(timedelta(seconds=3))
        raise ValueError("x")

    assert not run_handler_sync(fails, {"kind": "never"}).retryable
    assert run_handler_sync(fails, {"kind": "later"}).retry_delay == timedelta(seconds=3)
    plain = run_handler_sync(fails, {"kind": "x"})
    assert (plain.outcome, plain.retryable, type(plain.error)) == ("failed", True, ValueError)
    unreadable = run_handler_sync(fails, {"kind": 5})
    assert (unreadable.outcome, unreadable.retryable) == ("failed", False)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [(StopKind.CANCEL, "cancelled"), (StopKind.DRAIN, "released"), (StopKind.TIMEOUT, "failed")],
)
async def test_the_test_kit_gives_stop_signals(kind: StopKind, outcome: str) -> None:
    began = asyncio.Event()

    async def wait(job: Job) -> None:
        began.set()
        await asyncio.sleep(10)

    job = FakeJob()
    task = asyncio.create_task(run_handler(wait, job=job))
    await began.wait()
    job.stop_now(kind, "enough")
    assert (await task).outcome == outcome

    def wait_sync(job: Job) -> None:
        job.stop_now(kind)  # type: ignore[attr-defined]
        job.sleep(10)

    assert (await run_handler(wait_sync)).outcome == outcome


async def test_a_fake_job_has_parents() -> None:
    async def child(job: Job) -> Any:
        assert job.parent
        assert job.parent.result
        return job.parent.result.value

    parent = ParentResult(job_id=1, ref_id="p", state=JobState.COMPLETED, result=Payload(json="5"))
    run = await run_handler(child, parents=[parent], options=JobOptions(depends_on=(Dependency(job_id=1),)))
    assert run.result == 5


async def test_a_handler_reads_the_results_of_its_parents() -> None:
    def parent(job_id: int, **more: Any) -> ParentResult:
        return ParentResult(job_id=job_id, ref_id=f"p{job_id}", **more)

    summary = JobSummary(id=2, ref_id="p2", run=1, state=JobState.COMPLETED)
    large = JobResult(summary=summary, completed=CompletedJob(result=Payload(json='{"big":true}')))
    job = FakeJob(
        parents=[
            parent(1, state=JobState.COMPLETED, result=Payload(json="7")),
            parent(2, state=JobState.COMPLETED, by_reference=True),
            parent(3, state=JobState.FAILED, error=JobError(code="GONE", message="no longer there")),
        ],
        jobs={2: large},
    )

    async def consume(job: Job) -> list[Any]:
        with pytest.raises(JobFailedError, match="no longer there"):
            await job.parent_result(3)
        with pytest.raises(UnreadableRequestError, match="needs text"):
            await job.parent_result(1, result_type=str)
        return [await job.parent_result(result_type=int), await job.parent_result(2)]

    run = await run_handler(consume, job=job)
    assert run.result == [7, {"big": True}], run.error

    def sync(job: Job) -> int:
        return job.parent_result(1, result_type=int).wait(1)

    assert (await run_handler(sync, job=job)).result == 7

    async def orphan(job: Job) -> None:
        job.parent_result()

    assert "the job has no parent" in str((await run_handler(orphan)).error)


async def test_a_worker_puts_its_recurring_tasks_each_time_it_starts(fake: FakeServer) -> None:
    worker = Worker(fake.address)

    @worker.recurring(Schedule.daily("Europe/Vienna"), request={"deep": True}, overlap_policy=OverlapPolicy.SKIP)
    async def clean_up(job: Job, deep: bool) -> None:
        pass

    worker.add_recurring_task(RecurringTask(schedule=Schedule.every(timedelta(seconds=5)), command="poll"))
    fake.errors["PutRecurringTask"].append((grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", 0))
    fake.answers["PutRecurringTask"] = recurring_task_service_pb2.PutRecurringTaskResponse()
    async with running(worker):
        with pytest.raises(InvalidArgumentError, match="while the worker runs"):
            worker.add_recurring_task(RecurringTask(schedule=Schedule.hourly(), command="late"))
    assert worker.commands == ("clean_up",)
    tasks = [request.task for method, request in fake.calls if method == "PutRecurringTask"][1:]
    assert [(task.name, task.command) for task in tasks] == [("clean_up", "clean_up"), ("poll", "poll")]
    assert (tasks[0].schedule.cron, tasks[0].schedule.time_zone) == ("@daily", "Europe/Vienna")
    assert (tasks[0].request.json, tasks[1].schedule.interval.seconds) == ('{"deep":true}', 5)
    calls = [method for method, _ in fake.calls]
    assert calls.index("PutRecurringTask") < calls.index("RegisterWorker")


async def test_a_recurring_task_that_is_refused_ends_the_worker_with_the_reason(fake: FakeServer) -> None:
    worker = Worker(fake.address)

    @worker.recurring(Schedule(cron="not a cron"))
    async def clean_up() -> None:
        pass

    fake.errors["PutRecurringTask"].append((grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", 0))
    with pytest.raises(InvalidArgumentError, match="put_recurring_task"):
        await asyncio.wait_for(worker.run(handle_signals=False), 5)
    assert not fake.sessions


async def test_a_singleton_that_waits_for_its_lock_ends_at_once(fake: FakeServer) -> None:
    fake.locks["alone"] = "another"
    worker = Worker(fake.address)

    @worker.background(singleton=True, name="alone")
    async def loop(context: RunContext) -> None:
        await context.stop.wait()

    async with running(worker) as task:
        await until(lambda: any(method == "AcquireLock" for method, _ in fake.calls))
        worker.drain()
        await asyncio.wait_for(task, _limits.DRAIN_STOP_GRACE - 1)
    assert fake.locks == {"alone": "another"}


async def test_what_a_cancelled_call_acquires_all_the_same_is_given_back(fake: FakeServer) -> None:
    async with Client(fake.address) as client:
        fake.lock_delay = 0.2
        acquiring = asyncio.create_task(client.lock("one").acquire())
        await until(lambda: "one" in fake.locks)
        acquiring.cancel()  # it has it, and its answer is on the way
        with pytest.raises(asyncio.CancelledError):
            await acquiring
        fake.lock_delay = 0.0
        await until(lambda: "one" not in fake.locks)


async def test_a_lock_is_lost_when_its_client_is_closed(fake: FakeServer) -> None:
    client = Client(fake.address)
    lock = client.lock("one")
    assert await lock.acquire()
    await client.close()
    await asyncio.wait_for(lock.lost.wait(), 5)
    assert not lock.held
    assert not await lock.release()
