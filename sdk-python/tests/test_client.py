"""The client against a server in this process: retries, errors, watches."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import pytest
from fake_server import FakeServer
from server import free_port

import haulier
from haulier import (
    AlreadyExistsError,
    ApiCall,
    Client,
    DeadlineExceededError,
    EnqueueItem,
    FailedPreconditionError,
    HaulierError,
    HttpEndpoint,
    InvalidArgumentError,
    JobCancelledError,
    JobFailedError,
    JobFilter,
    JobOptions,
    JobState,
    NotFoundError,
    PayloadError,
    PermissionDeniedError,
    RecurringTask,
    Schedule,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from haulier.v1 import job_pb2, job_service_pb2, recurring_task_service_pb2

SHORT = timedelta(seconds=2)


@dataclass(frozen=True)
class Resize:
    image: str
    width: int


async def test_enqueue_keeps_its_request_id_over_retries(fake: FakeServer) -> None:
    fake.cuts.update({("EnqueueCommand.before", 1), ("EnqueueCommand.after", 1)})
    async with Client(fake.address, timeout=SHORT) as client:
        job = await client.enqueue(Resize("a", 3), options=JobOptions(tag="t"))
    requests = [request for name, request in fake.calls if name == "EnqueueCommand"]
    assert len(requests) == 3
    assert len({request.request_id for request in requests}) == 1
    assert len(fake.rows) == 1
    assert requests[0].command == "Resize"
    assert requests[0].request.json == '{"image":"a","width":3}'
    assert (job.id, job.state, job.created) == (1, JobState.QUEUED, True)


async def test_the_key_goes_with_every_call(fake: FakeServer) -> None:
    async with Client(fake.address, api_key="secret") as client:
        await client.enqueue("x")
    assert fake.metadata[0]["authorization"] == "Bearer secret"
    assert fake.metadata[0]["user-agent"].startswith("haulier-python/")


async def test_an_exhausted_server_is_asked_again_after_its_delay(fake: FakeServer) -> None:
    fake.errors["EnqueueCommand"] = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", 0.2)]
    began = asyncio.get_running_loop().time()
    async with Client(fake.address, timeout=SHORT) as client:
        await client.enqueue("x")
    assert asyncio.get_running_loop().time() - began >= 0.2


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        ("INVALID_ARGUMENT", "INVALID_FIELD", InvalidArgumentError),
        ("NOT_FOUND", "JOB_NOT_FOUND", NotFoundError),
        ("ALREADY_EXISTS", "REF_ID_TAKEN", AlreadyExistsError),
        ("FAILED_PRECONDITION", "WRONG_STATE", FailedPreconditionError),
        ("ABORTED", "SESSION_LOST", haulier.AbortedError),
        ("ABORTED", "LOCK_LOST", haulier.LockLostError),
        ("UNAUTHENTICATED", "UNAUTHENTICATED", UnauthenticatedError),
        ("PERMISSION_DENIED", "SCOPE_MISSING", PermissionDeniedError),
        ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", DeadlineExceededError),
        ("CANCELLED", "CALL_CANCELLED", haulier.CallCancelledError),
        ("UNIMPLEMENTED", "NOT_SUPPORTED", UnimplementedError),
        ("INTERNAL", "INTERNAL", haulier.InternalError),
    ],
)
async def test_errors_are_typed_and_not_retried(fake: FakeServer, code: str, reason: str, kind: type[HaulierError]) -> None:
    fake.errors["EnqueueCommand"] = [(grpc.StatusCode[code], reason, 0)]
    async with Client(fake.address, timeout=SHORT) as client:
        with pytest.raises(kind, match=f"enqueue: refused: {reason}") as caught:
            await client.enqueue("x")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.reason, error.operation) == (code, reason, "enqueue")
    assert len(fake.calls) == 1
    if isinstance(error, AlreadyExistsError):
        assert error.job_id == 42
    if reason == "INVALID_FIELD":
        assert (error.fields[0].field, error.fields[0].description) == ("command", "is empty")


async def test_a_server_that_is_away_is_a_typed_error_with_a_remedy() -> None:
    async with Client(f"127.0.0.1:{free_port()}", timeout=timedelta(seconds=0.5)) as client:
        with pytest.raises(UnavailableError, match="is the server running, and HAULIER_ADDRESS right"):
            await client.enqueue("x")


async def test_a_server_that_comes_late_is_waited_for() -> None:
    port = free_port()
    server = FakeServer()
    async with Client(f"127.0.0.1:{port}", timeout=timedelta(seconds=10)) as client:
        waiting = asyncio.create_task(client.enqueue("x"))
        await asyncio.sleep(0.2)
        await server.start(port)
        assert (await waiting).id == 1
        await server.stop()


@pytest.mark.parametrize("address", ["ftp://x:1", "http://", "https://host/path", "http://h?x=1"])
def test_a_wrong_address_is_a_typed_error(address: str) -> None:
    with pytest.raises(InvalidArgumentError, match="give host:port"):
        Client(address)


async def test_an_address_that_is_no_server_of_ours_is_a_typed_error() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Client(f"127.0.0.1:{port}", timeout=timedelta(seconds=0.5)) as client:
        with pytest.raises(HaulierError, match="no answer from|enqueue"):
            await client.enqueue("x")
    server.close()


async def test_what_cannot_be_sent_is_refused_before_it_is_sent(fake: FakeServer) -> None:
    async with Client(fake.address, timeout=SHORT) as client:
        with pytest.raises(PayloadError, match="enqueue: a value of type object"):
            await client.enqueue("x", object())
        with pytest.raises(PayloadError, match="at most"):
            await client.enqueue("x", "x" * (4 << 20))
        with pytest.raises(InvalidArgumentError, match="exactly one of command and api"):
            await client.enqueue_batch([EnqueueItem()])
        with pytest.raises(InvalidArgumentError, match="split it"):
            await client.enqueue_batch([EnqueueItem(command="x", request="x" * (2 << 20)) for _ in range(9)])
        with pytest.raises(InvalidArgumentError, match="named by its id"):
            await client.get(1.5)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgumentError, match="is the request itself"):
            await client.enqueue(Resize("a", 1), {"b": 1})
    assert not fake.calls


async def test_run_command_is_never_run_twice(fake: FakeServer) -> None:
    fake.cuts.add(("RunCommand.after", 1))
    fake.answers["RunCommand"] = job_service_pb2.RunCommandResponse(ref_id="r", state=job_pb2.JOB_STATE_COMPLETED)
    async with Client(fake.address, timeout=SHORT) as client:
        with pytest.raises(UnavailableError):
            await client.run_command("x")
        assert len(fake.calls) == 1
        fake.errors["RunCommand"] = [(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", 0.01)]
        assert await client.run_command("x") is None
    assert len(fake.calls) == 3


async def test_run_command_gives_result_failure_cancellation_or_deadline(fake: FakeServer) -> None:
    answer = job_service_pb2.RunCommandResponse(ref_id="r", state=job_pb2.JOB_STATE_COMPLETED)
    answer.result.json = '{"image":"a","width":1}'
    fake.answers["RunCommand"] = answer
    async with Client(fake.address, timeout=SHORT) as client:
        assert await client.run_command("x", result_type=Resize) == Resize("a", 1)
        answer.state = job_pb2.JOB_STATE_FAILED
        answer.error.code, answer.error.message = "GONE", "no"
        with pytest.raises(JobFailedError, match="GONE: no") as failed:
            await client.run_command("x")
        assert failed.value.error_code == "GONE"
        answer.state = job_pb2.JOB_STATE_CANCELLED
        with pytest.raises(JobCancelledError):
            await client.run_command("x")
        answer.state = job_pb2.JOB_STATE_RUNNING
        with pytest.raises(DeadlineExceededError) as late:
            await client.run_command("x", wait=timedelta(seconds=1))
        assert late.value.metadata == {"ref_id": "r"}
        assert (await client.start_command("x")).state is JobState.RUNNING


def watch_message(token: str, state: Any = job_pb2.JOB_STATE_RUNNING, line: str = "") -> job_service_pb2.WatchJobResponse:
    message = job_service_pb2.WatchJobResponse(resume_token=token)
    if line:
        message.logs.lines.add(sequence=1, message=line)
        return message
    message.snapshot.summary.id = 1
    message.snapshot.summary.state = state
    if state == job_pb2.JOB_STATE_COMPLETED:
        message.snapshot.completed.result.json = '{"image":"a","width":2}'
    elif state == job_pb2.JOB_STATE_FAILED:
        message.snapshot.summary.attempt = 3
        message.snapshot.failed.error.code = "GONE"
        message.snapshot.failed.error.message = "no"
    elif state == job_pb2.JOB_STATE_CANCELLED:
        message.snapshot.summary.cancel_reason = job_pb2.CANCEL_REASON_CLIENT
        message.snapshot.failed.SetInParent()
    return message


async def test_a_watch_goes_on_after_every_break_with_its_token(fake: FakeServer) -> None:
    done = watch_message("t4", job_pb2.JOB_STATE_COMPLETED)
    fake.watch_script = [
        [grpc.StatusCode.UNAVAILABLE],
        [watch_message("t1"), watch_message("t2", line="a"), grpc.StatusCode.UNAVAILABLE],
        [watch_message("t3", line="b")],  # an end before the outcome is a break too
        [done],
    ]
    async with Client(fake.address) as client:
        events = [event async for event in client.watch(1)]
    assert [event.kind for event in events] == ["snapshot", "logs", "logs", "snapshot"]
    assert [request.resume_token for _, request in fake.calls] == ["", "", "t2", "t3"]


async def test_an_export_goes_on_after_a_break(fake: FakeServer) -> None:
    from haulier.v1 import admin_service_pb2

    records = [admin_service_pb2.ExportHistoryMonthResponse(resume_token=f"t{n}", job_id=n) for n in range(3)]
    records[1].log_line.message = "x"
    fake.watch_script = [[*records[:2], grpc.StatusCode.UNAVAILABLE], [records[2]]]
    async with Client(fake.address) as client:
        got = [record async for record in client.export_history_month("2026-10", include_attempts=False)]
    assert [record.job_id for record in got] == [0, 1, 2]
    assert got[1].log_line is not None
    assert [request.resume_token for _, request in fake.calls] == ["", "t1"]


async def test_a_result_that_the_key_may_not_read_is_an_error_not_nothing(fake: FakeServer) -> None:
    hidden = watch_message("t", job_pb2.JOB_STATE_COMPLETED)
    hidden.snapshot.completed.ClearField("result")
    hidden.snapshot.payloads_hidden = True
    fake.watch_script = [[hidden], [hidden]]
    async with Client(fake.address) as client:
        with pytest.raises(haulier.PermissionDeniedError, match="read payloads") as caught:
            await client.wait(1)
        assert caught.value.reason == "PAYLOADS_HIDDEN"
        assert (await client.settled(1)).payloads_hidden


async def test_wait_gives_the_result_or_a_typed_error(fake: FakeServer) -> None:
    async with Client(fake.address, timeout=SHORT) as client:
        fake.watch_script = [[watch_message("t", job_pb2.JOB_STATE_COMPLETED)]]
        assert await client.wait(1, result_type=Resize) == Resize("a", 2)
        fake.watch_script = [[watch_message("t", job_pb2.JOB_STATE_FAILED)]]
        with pytest.raises(JobFailedError, match="job 1 failed after 3 attempts: GONE: no") as failed:
            await client.wait(1)
        assert failed.value.job is not None
        fake.watch_script = [[watch_message("t", job_pb2.JOB_STATE_CANCELLED)]]
        with pytest.raises(JobCancelledError) as cancelled:
            await client.wait("ref")
        assert cancelled.value.cancel_reason == "client"
        fake.watch_script = [[watch_message("t")] for _ in range(50)]
        with pytest.raises(DeadlineExceededError, match="it goes on"):
            await client.wait(1, timeout=timedelta(seconds=0.2))


async def test_lists_go_over_pages(fake: FakeServer) -> None:
    answer = job_service_pb2.ListJobsResponse(
        jobs=[job_pb2.JobSummary(id=n, state=job_pb2.JOB_STATE_COMPLETED) for n in (1, 2, 3)]
    )
    fake.answers["ListJobs"] = answer
    async with Client(fake.address) as client:
        assert [job.id async for job in client.list_jobs(JobFilter(states=(JobState.COMPLETED,), tag="t"))] == [1, 2, 3]
        answer.next_page_token = "next"
        assert [job.id async for job in client.list_jobs(limit=5)] == [1, 2, 3, 1, 2]
    requests = [request for _, request in fake.calls]
    assert requests[0].filter.states == [job_pb2.JOB_STATE_COMPLETED]
    assert requests[2].page_token == "next"


async def test_messages_of_every_call_are_filled(fake: FakeServer) -> None:
    fake.answers["EnqueueBatch"] = job_service_pb2.EnqueueBatchResponse(batch_id="b")
    fake.answers["EnqueueApi"] = job_service_pb2.EnqueueApiResponse(job_id=9)
    answer = recurring_task_service_pb2.PutRecurringTaskResponse(result=recurring_task_service_pb2.PUT_RESULT_CREATED)
    answer.task.name = "n"
    answer.task.schedule.cron = "@daily"
    answer.task.request.json = "1"
    fake.answers["PutRecurringTask"] = answer
    async with Client(fake.address) as client:
        api = ApiCall(target="shop", http=HttpEndpoint(path="/x", method="PUT"))
        assert (await client.enqueue_api(api, {"a": 1})).id == 9
        batch = await client.enqueue_batch(
            [
                EnqueueItem(command="x", request=1, local_key="k"),
                EnqueueItem(api=api, options=JobOptions(delay=timedelta(seconds=1))),
            ]
        )
        assert batch.batch_id == "b"
        task = RecurringTask(
            name="n", schedule=Schedule(interval=timedelta(seconds=5)), command="x", request={"a": 1}, run_command=True
        )
        put = await client.put_recurring_task(task)
        assert (put.result, put.task.schedule.cron) == ("created", "@daily")
        assert put.task.request.value == 1
    sent = dict(fake.calls)
    assert sent["EnqueueApi"].api.http.path == "/x"
    assert sent["EnqueueBatch"].items[1].api.options.delay.seconds == 1
    assert sent["EnqueueBatch"].items[0].local_key == "k"
    assert sent["PutRecurringTask"].task.schedule.interval.seconds == 5
    assert sent["PutRecurringTask"].task.request.json == '{"a":1}'


async def test_every_thin_call_is_a_typed_error_where_the_server_lacks_it(fake: FakeServer) -> None:
    async with Client(fake.address, timeout=SHORT) as client:
        calls: list[Any] = [
            client.get(1),
            client.explain(1),
            client.get_batch("b"),
            client.replay_delivery(1),
            client.cancel(1, "why", grace=SHORT),
            client.cancel_jobs(JobFilter(tag="t")),
            client.requeue(1),
            client.requeue_jobs(JobFilter(tag="t")),
            client.get_recurring_task("n"),
            client.delete_recurring_task("n"),
            client.pause_recurring_task("n"),
            client.resume_recurring_task("n"),
            client.trigger_recurring_task("n"),
            client.preview_schedule(Schedule(cron="@daily")),
            client.get_queue("q"),
            client.pause_queue("q"),
            client.resume_queue("q"),
            client.update_queue("q", concurrency_limit=5),
            client.break_lock("l"),
            client.drain_worker("w"),
            client.get_overview(),
            client.drop_history_month("2026-01"),
        ]
        for call in calls:
            with pytest.raises(UnimplementedError):
                await call
        for pages in (
            client.list_attempts(1),
            client.list_logs(1),
            client.list_deliveries(),
            client.list_recurring_tasks(),
            client.list_queues(),
            client.list_locks(),
            client.list_workers(),
            client.list_commands(),
            client.list_servers(),
            client.list_history_months(),
        ):
            with pytest.raises(UnimplementedError):
                await anext(aiter(pages))


async def test_a_lock_is_held_renewed_and_lost(fake: FakeServer) -> None:
    async with Client(fake.address, timeout=SHORT) as client:
        async with client.lock("one", lease_time=timedelta(seconds=2)) as lock:
            assert lock.fencing_token == 7
            assert not await client.lock("one").acquire(timedelta(0))
            await asyncio.sleep(1.8)  # without a renewal it would count as lost by now
            assert lock.held
            fake.locks["one"] = "another"
            await asyncio.wait_for(lock.lost.wait(), 10)
            with pytest.raises(haulier.LockLostError):
                lock.check()
        fake.locks.clear()
        async with client.lock("one") as again:
            assert again.held
        assert not fake.locks


async def test_an_acquire_without_an_answer_gives_back_what_it_got_also_when_it_gets_it_late(fake: FakeServer) -> None:
    fake.locks["one"] = "another"
    async with Client(fake.address) as client:
        waiting = asyncio.create_task(client.lock("one").acquire())
        while not fake.calls:
            await asyncio.sleep(0.01)
        owner_id = fake.calls[0][1].owner_id
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        while fake.calls[-1][0] != "ReleaseLock":
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        fake.locks["one"] = owner_id  # the server was at it still
        while fake.locks:
            await asyncio.sleep(0.01)
        asked = len(fake.calls)
        await asyncio.sleep(1)
        assert len(fake.calls) == asked, "once it is given back nothing is asked any more"


async def test_a_lock_that_was_waited_for_is_held_from_when_it_was_acquired(fake: FakeServer) -> None:
    fake.lock_waited = 30.0
    async with Client(fake.address, timeout=SHORT) as client, client.lock("one", lease_time=timedelta(seconds=6)) as lock:
        # 36 s from when the call was sent, less a fifth of the lease time, not of the time that it was waited for.
        assert timedelta(seconds=30) < lock.time_left < timedelta(seconds=35)


async def test_the_sync_client_does_the_same_without_asyncio(fake: FakeServer) -> None:
    from haulier.sync import Client as SyncClient

    fake.watch_script = [[watch_message("t1", line="a"), watch_message("t", job_pb2.JOB_STATE_COMPLETED)]] * 2

    def work() -> list[Any]:
        with SyncClient(fake.address, timeout=SHORT) as client:
            job = client.enqueue(Resize("a", 1))
            kinds = [event.kind for event in client.watch(job)]
            result = client.wait(job, result_type=Resize)
            with client.lock("l") as lock:
                held = lock.held
            with pytest.raises(UnimplementedError):
                list(client.list_queues())
            return [job.id, kinds, result, held]

    assert await asyncio.to_thread(work) == [1, ["logs", "snapshot"], Resize("a", 2), True]


def test_the_sync_client_has_every_method_of_the_async_one() -> None:
    from haulier.sync import Client as SyncClient

    names = {name for name in dir(Client) if not name.startswith("_")} - {"over"}
    assert names <= set(dir(SyncClient))


async def test_a_requeue_keeps_its_request_id_over_retries(fake: FakeServer) -> None:
    fake.errors["RequeueJob"].append((grpc.StatusCode.UNAVAILABLE, "", 0))
    fake.answers["RequeueJob"] = job_service_pb2.RequeueJobResponse(created=True)
    async with Client(fake.address, timeout=SHORT) as client:
        assert (await client.requeue(5)).created
    ids = [request.request_id for method, request in fake.calls if method == "RequeueJob"]
    assert len(ids) == 2
    assert ids[0]
    assert len(set(ids)) == 1


async def test_a_run_is_asked_for_once_when_no_worker_is_there_for_the_server_has_waited_for_one(fake: FakeServer) -> None:
    # The server would answer a repeat; the delay it names is no invitation to one.
    fake.errors["RunCommand"] = [(grpc.StatusCode.UNAVAILABLE, "NO_WORKER_HERE", 0.01)] * 2
    fake.answers["RunCommand"] = job_service_pb2.RunCommandResponse(state=job_pb2.JOB_STATE_COMPLETED)
    async with Client(fake.address) as client:
        for run in (client.run_command, client.start_command):
            with pytest.raises(UnavailableError) as caught:
                await run("nobody")
            assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "NO_WORKER_HERE")
            assert caught.value.operation == run.__name__
        assert [method for method, _ in fake.calls] == ["RunCommand", "RunCommand"]
        assert await client.run_command("somebody") is None


async def test_an_update_of_a_queue_names_only_what_it_is_given(fake: FakeServer) -> None:
    from haulier import RateLimit
    from haulier.v1 import queue_service_pb2

    fake.answers["UpdateQueue"] = queue_service_pb2.UpdateQueueResponse()
    async with Client(fake.address) as client:
        await client.update_queue("q", concurrency_limit=5)
        await client.update_queue("q", concurrency_limit=None, rate_limit=RateLimit(count=2))
        with pytest.raises(InvalidArgumentError, match="concurrency_limit, rate_limit or both"):
            await client.update_queue("q")
    requests = [request for method, request in fake.calls if method == "UpdateQueue"]
    assert [list(request.update_mask.paths) for request in requests] == [
        ["concurrency_limit"],
        ["concurrency_limit", "rate_limit"],
    ]
    assert requests[0].queue.concurrency_limit == 5
    assert not requests[1].queue.HasField("concurrency_limit")
    assert requests[1].queue.rate_limit.count == 2


async def test_a_page_is_read_by_its_token(fake: FakeServer) -> None:
    from haulier.sync import Client as SyncClient

    answer = job_service_pb2.ListJobsResponse(jobs=[job_pb2.JobSummary(id=1)], next_page_token="more")
    fake.answers["ListJobs"] = answer
    async with Client(fake.address) as client:
        first = await client.list_jobs().page(size=20)
        assert ([job.id for job in first.items], first.next_page_token) == ([1], "more")
        await client.list_jobs().page(first.next_page_token)

    def blocking() -> None:
        with SyncClient(fake.address) as client:
            assert client.list_jobs().page(size=3).next_page_token == "more"
            answer.next_page_token = ""
            assert [job.id for job in client.list_jobs()] == [1]

    await asyncio.to_thread(blocking)
    requests = [request for _, request in fake.calls]
    assert [(request.page_size, request.page_token) for request in requests[:3]] == [(20, ""), (200, "more"), (3, "")]


def test_claims_travel_only_with_their_user_and_a_trace_state_only_with_its_trace() -> None:
    from haulier._client import inherit

    parent = {
        "parent_id": 7,
        "user_id": "ann",
        "user_claims": {"role": "admin"},
        "traceparent": "00-aa-bb-01",
        "tracestate": "x=1",
    }
    plain = inherit(None, parent)
    assert (plain.parent_id, plain.user_id, plain.user_claims) == (7, "ann", {"role": "admin"})
    assert (plain.traceparent, plain.tracestate) == ("00-aa-bb-01", "x=1")
    own = inherit(JobOptions(parent_id=9, user_id="bob", traceparent="00-cc-dd-01"), parent)
    assert (own.parent_id, own.user_id, dict(own.user_claims)) == (9, "bob", {})
    assert (own.traceparent, own.tracestate) == ("00-cc-dd-01", None)


async def test_a_server_with_certificates_is_spoken_to_by_tls_and_knows_its_client() -> None:
    import trustme

    authority = trustme.CA()
    served, own = authority.issue_cert("queue.example.com"), authority.issue_cert("client@example.com")

    def pem(certificate: trustme.LeafCert) -> tuple[bytes, bytes]:
        return b"".join(one.bytes() for one in certificate.cert_chain_pems), certificate.private_key_pem.bytes()

    chain, key = pem(served)
    ca = authority.cert_pem.bytes()
    server = FakeServer()
    await server.start(credentials=grpc.ssl_server_credentials([(key, chain)], ca, require_client_auth=True))
    try:
        async with Client(
            server.address, ca_certificate=ca, client_certificate=pem(own), server_name="queue.example.com", timeout=SHORT
        ) as client:
            assert (await client.enqueue("x")).id == 1
        for wrong in (
            Client(server.address, ca_certificate=ca, server_name="queue.example.com", timeout=timedelta(seconds=0.5)),
            Client(server.address, ca_certificate=ca, client_certificate=pem(own), timeout=timedelta(seconds=0.5)),
            Client(server.address, timeout=timedelta(seconds=0.5)),
        ):
            async with wrong:
                with pytest.raises(UnavailableError, match="no answer from"):
                    await wrong.enqueue("x")
    finally:
        await server.stop()


async def test_the_trace_of_the_current_span_goes_along_unless_options_have_one(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import types

    def inject(carrier: dict[str, str]) -> None:
        carrier.update(traceparent="00-aa-bb-01", tracestate="x=1")

    propagate = types.ModuleType("opentelemetry.propagate")
    propagate.inject = inject  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "opentelemetry.propagate", propagate)
    async with Client(fake.address) as client:
        await client.enqueue("x")
        await client.enqueue("x", options=JobOptions(traceparent="00-cc-dd-01"))
    options = [request.options for _, request in fake.calls]
    assert [(one.traceparent, one.tracestate) for one in options] == [("00-aa-bb-01", "x=1"), ("00-cc-dd-01", "")]
