"""The SDK against the contract: nothing missing, nothing stale."""

from __future__ import annotations

import dataclasses
import importlib
import re
import subprocess
import sys
import typing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import haulier
import haulier.sync
from haulier import (
    ApiCall,
    Backoff,
    Callback,
    Client,
    Dependency,
    DependencyCondition,
    EnqueueItem,
    HaulierError,
    InvalidArgumentError,
    JobFilter,
    JobOptions,
    LockKey,
    PriorityName,
    RecurringTask,
    RefIdPolicy,
    ReplyBody,
    ReplyMode,
    RetryPolicy,
    Schedule,
    WorkerOrder,
)
from haulier import _methods as methods
from haulier._convert import read, write
from haulier.v1 import options_pb2

SDK = Path(__file__).resolve().parent.parent
SERVICES = ["admin", "job", "lock", "queue", "recurring_task", "worker"]


def test_generated_code_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, SDK / "scripts" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_method_is_there_with_its_types() -> None:
    have = {(one.service, one.name): one for one in vars(methods).values() if isinstance(one, methods.Method)}
    for file in SERVICES:
        module = importlib.import_module(f"haulier.v1.{file}_service_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                ours = have.pop((service.name, method.name))
                assert ours.request.DESCRIPTOR.full_name == method.input_type.full_name
                assert ours.response.DESCRIPTOR.full_name == method.output_type.full_name
    assert not have


# What only a worker speaks.
OF_WORKERS = {"RegisterWorker", "ClaimJob", "ReportJobs", "UnregisterWorker"}
# The calls whose method has another name: what is done to one job does not say `job`, a lock is an object.
METHODS = {"EnqueueCommand": "enqueue", "GetJobByRefId": "get", "AcquireLock": "lock"}


def method_of(call: str) -> str:
    """The method that makes a call of the contract."""
    words = re.findall("[A-Z][a-z]*", call)
    return METHODS.get(call) or "_".join(word.lower() for word in words if word != "Job")


class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc,unused-ignore]
    """Refuses every call, and remembers which it was."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def service(self, handler_call_details: Any) -> Any:
        self.asked.append(handler_call_details.method.rpartition("/")[2])

        async def refuse(_: Any, context: Any) -> None:
            # Any other answer leaves open whether a lock is held now, which would be asked for once more.
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused")

        return grpc.stream_stream_rpc_method_handler(refuse)


async def answer_of(call: Any) -> None:
    if hasattr(call, "__aiter__"):
        await call.__aiter__().__anext__()
    else:
        await call


async def test_every_call_of_the_contract_has_a_method_of_its_name() -> None:
    refusing = Refusing()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((refusing,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    key = LockKey(name="n", owner_id="o", fencing_token=1)
    schedule = Schedule(cron="@hourly")
    found: set[str] = set()
    async with Client(f"127.0.0.1:{port}") as client:
        calls: list[tuple[str, Any]] = [
            ("enqueue", lambda: client.enqueue("work")),
            ("enqueue_api", lambda: client.enqueue_api(ApiCall(target="t", grpc_method="a.B/C"))),
            ("enqueue_batch", lambda: client.enqueue_batch([EnqueueItem(command="work")])),
            ("run_command", lambda: client.run_command("work")),
            ("get", lambda: client.get(1)),
            ("get", lambda: client.get("ref")),
            ("list_jobs", lambda: client.list_jobs()),
            ("watch", lambda: client.watch(1)),
            ("watch_jobs", lambda: client.watch_jobs()),
            ("cancel", lambda: client.cancel(1)),
            ("cancel_jobs", lambda: client.cancel_jobs(JobFilter(tag="t"))),
            ("requeue", lambda: client.requeue(1)),
            ("requeue_jobs", lambda: client.requeue_jobs(JobFilter(tag="t"))),
            ("list_attempts", lambda: client.list_attempts(1)),
            ("list_logs", lambda: client.list_logs(1)),
            ("get_batch", lambda: client.get_batch("b")),
            ("list_deliveries", lambda: client.list_deliveries(1)),
            ("replay_delivery", lambda: client.replay_delivery(1)),
            ("explain", lambda: client.explain(1)),
            ("put_recurring_task", lambda: client.put_recurring_task(RecurringTask(schedule=schedule, command="work"))),
            ("get_recurring_task", lambda: client.get_recurring_task("n")),
            ("list_recurring_tasks", lambda: client.list_recurring_tasks()),
            ("delete_recurring_task", lambda: client.delete_recurring_task("n")),
            ("pause_recurring_task", lambda: client.pause_recurring_task("n")),
            ("resume_recurring_task", lambda: client.resume_recurring_task("n")),
            ("trigger_recurring_task", lambda: client.trigger_recurring_task("n")),
            ("preview_schedule", lambda: client.preview_schedule(schedule)),
            ("get_queue", lambda: client.get_queue("q")),
            ("list_queues", lambda: client.list_queues()),
            ("pause_queue", lambda: client.pause_queue("q")),
            ("resume_queue", lambda: client.resume_queue("q")),
            ("update_queue", lambda: client.update_queue("q", concurrency_limit=1)),
            ("lock", lambda: client.lock("n").acquire()),
            ("renew_lock", lambda: client.renew_lock(key)),
            ("release_lock", lambda: client.release_lock(key)),
            ("list_locks", lambda: client.list_locks()),
            ("break_lock", lambda: client.break_lock("n")),
            ("list_workers", lambda: client.list_workers()),
            ("drain_worker", lambda: client.drain_worker("w")),
            ("get_overview", lambda: client.get_overview()),
            ("list_commands", lambda: client.list_commands()),
            ("list_servers", lambda: client.list_servers()),
            ("list_history_months", lambda: client.list_history_months()),
            ("export_history_month", lambda: client.export_history_month("2026-11")),
            ("drop_history_month", lambda: client.drop_history_month("2026-11")),
        ]
        for name, make in calls:
            assert name in make.__code__.co_names
            with pytest.raises(HaulierError, match="refused"):
                await answer_of(make())
            asked, refusing.asked = refusing.asked, []
            assert [method_of(call) for call in asked] == [name], asked
            found.update(asked)
    await server.stop(0)
    every = {one.name for one in vars(methods).values() if isinstance(one, methods.Method)}
    assert found == every - OF_WORKERS
    assert not [name for name in {method_of(call) for call in found} if not hasattr(haulier.sync.Client, name)]


def messages() -> dict[str, Any]:
    found = {}
    for path in (SDK / "src" / "haulier" / "v1").glob("*_pb2.py"):
        module = importlib.import_module(f"haulier.v1.{path.stem}")
        found.update(module.DESCRIPTOR.message_types_by_name)
    return found


# What the dataclass of a message leaves out, or has beside it.
RENAMED = {"LockInfo": "Lock"}


@pytest.mark.parametrize("name", sorted(haulier.__all__))
def test_every_dataclass_has_every_field_of_its_message(name: str) -> None:
    kind = getattr(haulier, name)
    descriptor = messages().get(RENAMED.get(name, name))
    if not dataclasses.is_dataclass(kind) or descriptor is None or name in ("Payload", "EnqueuedJob", "EnqueueItem"):
        return
    ours = {field.name for field in dataclasses.fields(kind)}
    theirs = {field.name for field in descriptor.fields}
    extra = {"resume_token"} if name.endswith("Event") else set()
    assert ours - extra == theirs
    assert typing.get_type_hints(kind)


@pytest.mark.parametrize("name", sorted(haulier.__all__))
def test_every_word_of_an_enum_is_there(name: str) -> None:
    kind = getattr(haulier, name)
    enums = {}
    for path in (SDK / "src" / "haulier" / "v1").glob("*_pb2.py"):
        enums.update(importlib.import_module(f"haulier.v1.{path.stem}").DESCRIPTOR.enum_types_by_name)
    descriptor = enums.get(name)
    if descriptor is None:
        return
    prefix = "".join("_" + letter if letter.isupper() else letter.upper() for letter in name).strip("_").upper()
    words = {value.name[len(prefix) + 1 :].lower() for value in descriptor.values if value.number}
    assert {word.value for word in kind} - {"unknown"} == words


def test_options_survive_the_way_there_and_back() -> None:
    options = JobOptions(
        ref_id="r",
        ref_id_policy=RefIdPolicy.RETURN_EXISTING,
        queue="q",
        worker="",
        worker_order=WorkerOrder.RELAXED,
        priority=20,
        priority_name=PriorityName.HIGH,
        run_after=datetime(2030, 1, 1, tzinfo=timezone.utc),
        delay=timedelta(seconds=1.5),
        expire_time=datetime(2031, 1, 1, 1, 1, 1, 1, tzinfo=timezone.utc),
        timeout=timedelta(minutes=1),
        retry_policy=RetryPolicy(
            profile="abp",
            retry_limit=0,
            crash_limit=0,
            backoff=Backoff.LINEAR,
            first_delay=timedelta(seconds=1),
            factor=2.5,
            max_delay=timedelta(days=1),
            give_up_after=timedelta(days=2),
        ),
        depends_on=(
            Dependency(job_id=5, condition=DependencyCondition.FAILURE),
            Dependency(ref_id="x"),
            Dependency(local_key="k", condition=DependencyCondition.FINISHED),
        ),
        strict=True,
        callback=Callback(command="c", args={"a": "b"}),
        reply_to="POST token@https://x/y",
        reply_mode=ReplyMode.CARRY,
        reply_body=ReplyBody.ENVELOPE,
        reply_on_success_only=True,
        tag="t",
        batch_id="b",
        parent_id=3,
        user_id="u",
        user_claims={"c": "d"},
        created_by="me",
        args={"e": "f"},
        traceparent="00-a-b-01",
        tracestate="x=y",
    )
    assert all(getattr(options, field.name) is not None for field in dataclasses.fields(options))
    message = write(options, options_pb2.JobOptions(), "enqueue")
    assert read(JobOptions, message) == options
    empty = write(JobOptions(), options_pb2.JobOptions(), "enqueue")
    assert not empty.ListFields()


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (JobOptions(run_after=datetime(2030, 1, 1)), "options.run_after"),
        (JobOptions(delay=5), "options.delay"),  # type: ignore[arg-type]
        (JobOptions(priority="high"), "options.priority"),  # type: ignore[arg-type]
        (JobOptions(parent_id=2**70), "options.parent_id"),
        (JobOptions(args={"a": 1}), "options.args"),  # type: ignore[dict-item]
        (JobOptions(ref_id_policy="sometimes"), "options.ref_id_policy"),  # type: ignore[arg-type]
        (JobOptions(retry_policy=RetryPolicy(factor="x")), "options.retry_policy.factor"),  # type: ignore[arg-type]
        (JobOptions(depends_on=(5,)), r"options.depends_on\[0\]|options.depends_on"),  # type: ignore[arg-type]
        (JobOptions(depends_on=5), "options.depends_on"),  # type: ignore[arg-type]
        (JobOptions(retry_policy="abp"), "options.retry_policy"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_type_is_a_typed_error_that_names_the_field(options: JobOptions, path: str) -> None:
    with pytest.raises(InvalidArgumentError, match=path) as caught:
        write(options, options_pb2.JobOptions(), "enqueue", "options.")
    assert caught.value.fields[0].field.startswith("options.")


def test_a_word_may_be_given_as_text() -> None:
    message = write(JobOptions(priority_name="high"), options_pb2.JobOptions(), "enqueue")  # type: ignore[arg-type]
    assert message.priority_name == options_pb2.PRIORITY_NAME_HIGH
