"""The client: what applications call."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from . import _limits as limits
from . import _methods as methods
from ._command import command_name
from ._convert import duration, read, read_enum, read_payload, write
from ._errors import (
    DeadlineExceededError,
    HaulierError,
    InvalidArgumentError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    PermissionDeniedError,
)
from ._lock import Lock, LockKey
from ._options import JobOptions
from ._pages import Page, Pages
from ._payload import Payload, convert, encode
from ._records import (
    ApiCall,
    Batch,
    CancelJobResult,
    CancelJobsResult,
    CancelReason,
    Command,
    Delivery,
    DeliveryState,
    EnqueuedBatch,
    EnqueuedJob,
    Explanation,
    HistoryMonth,
    HistoryRecord,
    JobAttempt,
    JobError,
    JobFilter,
    JobResult,
    JobState,
    JobSummary,
    Keep,
    ListOrder,
    LockInfo,
    LogLevel,
    LogLine,
    Overview,
    PutRecurringTaskResult,
    Queue,
    RateLimit,
    RecurringTask,
    RequeueJobResult,
    RequeueJobsResult,
    RunCommandResult,
    Schedule,
    SchedulePreview,
    Server,
    SnapshotEvent,
    TriggeredRun,
    WatchEvent,
    WatchJobsEvent,
    WatchUntil,
    WorkerProcess,
)
from ._transport import Connection, Repeat, current_trace
from ._watch import export_history_month, watch_job, watch_jobs
from .v1 import (
    admin_service_pb2,
    enqueue_pb2,
    job_pb2,
    job_service_pb2,
    lock_service_pb2,
    queue_service_pb2,
    recurring_task_service_pb2,
    worker_service_pb2,
)

__all__ = ["Client", "EnqueueItem"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueItem:
    """One job of a batch: exactly one of `command` and `api`."""

    command: str | Callable[..., Any] | None = None
    """Name of the command, or its handler."""
    api: ApiCall | None = None
    """The API to call."""
    request: Any = None
    """Request: any value with a JSON form, bytes, or None."""
    options: JobOptions | None = None
    """How to run it."""
    local_key: str | None = None
    """Name by which other items of the batch may depend on this one."""


class Client:
    """A connection to the server: enqueue jobs, follow them, and operate the queue.

    Every call is retried with jitter while the server is away or overloaded, until `timeout` is over; a call that writes
    keeps its request id over retries, so that it is done once. Use it in one event loop.

    Args:
        address: `host:port`, `http://host:port` or `https://host:port` (TLS). Default: `HAULIER_ADDRESS`, else
            `127.0.0.1:4285`.
        api_key: API key. Default: `HAULIER_API_KEY`, else the content of the file `HAULIER_API_KEY_FILE`, else none.
        ca_certificate: PEM of the authority that signed the server's certificate; implies TLS. Default: the system's.
        client_certificate: PEM of the client's own certificate chain and of its key, for servers that ask for one; implies TLS.
        server_name: Name that the server's certificate must carry; implies TLS. Default: the host of the address.
        timeout: How long one call may take with all its retries.

    Example:
        >>> async def main() -> None:
        ...     async with Client() as client:
        ...         job = await client.enqueue("resize", {"image": "cat.png", "width": 200})
        ...         print(await client.wait(job))
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        api_key: str | None = None,
        ca_certificate: bytes | None = None,
        client_certificate: tuple[bytes, bytes] | None = None,
        server_name: str | None = None,
        timeout: timedelta = limits.CALL_TIMEOUT,
    ) -> None:
        self._connection = Connection(
            address,
            api_key=api_key,
            ca_certificate=ca_certificate,
            client_certificate=client_certificate,
            server_name=server_name,
            timeout=timeout,
        )

    @classmethod
    def over(cls, connection: Connection) -> Client:
        """A client over a connection that exists. For the worker."""
        made = cls.__new__(cls)
        made._connection = connection  # noqa: SLF001
        return made

    @property
    def address(self) -> str:
        """Address of the server."""
        return self._connection.address

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        await self._connection.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # Enqueue and run

    async def enqueue(
        self,
        command: str | Callable[..., Any] | object,
        request: Any = None,
        options: JobOptions | None = None,
        *,
        request_id: str | None = None,
        timeout: timedelta | None = None,
    ) -> EnqueuedJob:
        """Stores a job that runs a command. When it returns, the job survives every crash.

        Args:
            command: Name of the command; or its handler; or a dataclass, pydantic or msgspec object that is the request,
                whose type names the command.
            request: Request given to the handler: any value with a JSON form, bytes, or None.
            options: How to run it.
            request_id: Makes a repeat of this call do nothing and answer the same, for 24 h. Default: a fresh one.
            timeout: How long the call may take with its retries. Default: that of the client.

        Raises:
            AlreadyExistsError: The ref id is taken.
            InvalidArgumentError: A field breaks a rule; `fields` names it.
            PayloadError: The request has no JSON form or is too large.
        """
        name, request = command_name(command, request)
        message = job_service_pb2.EnqueueCommandRequest(
            command=name, request=encode(request, "enqueue"), request_id=request_id or str(uuid.uuid4())
        )
        write_options(options, message, "enqueue")
        answer = await self._connection.call(methods.ENQUEUE_COMMAND, message, operation="enqueue", timeout=timeout)
        return _enqueued(answer)

    async def enqueue_api(
        self,
        api: ApiCall,
        request: Any = None,
        options: JobOptions | None = None,
        *,
        request_id: str | None = None,
        timeout: timedelta | None = None,
    ) -> EnqueuedJob:
        """Stores a job that calls an API of a target named in the server's configuration.

        Args:
            api: The API.
            request: A generated protobuf message, any value with a JSON form, bytes, or None.
            options: How to run it.
            request_id: Makes a repeat of this call do nothing and answer the same, for 24 h. Default: a fresh one.
            timeout: How long the call may take with its retries. Default: that of the client.
        """
        message = job_service_pb2.EnqueueApiRequest(
            request=encode(request, "enqueue_api"), request_id=request_id or str(uuid.uuid4())
        )
        write(api, message.api, "enqueue_api", "api.")
        write_options(options, message, "enqueue_api")
        answer = await self._connection.call(methods.ENQUEUE_API, message, operation="enqueue_api", timeout=timeout)
        return _enqueued(answer)

    async def enqueue_batch(
        self,
        items: Sequence[EnqueueItem],
        *,
        batch_id: str | None = None,
        request_id: str | None = None,
        timeout: timedelta | None = None,
    ) -> EnqueuedBatch:
        """Stores several jobs in one transaction, all or none. At most 1,000 unless the server allows more.

        Args:
            items: The jobs; they may depend on each other by local key.
            batch_id: Batch id of every item that sets none. Default: the server makes one.
            request_id: Makes a repeat of this call do nothing and answer the same, for 24 h. Default: a fresh one.
            timeout: How long the call may take with its retries. Default: that of the client.
        """
        message = job_service_pb2.EnqueueBatchRequest(batch_id=batch_id or "", request_id=request_id or str(uuid.uuid4()))
        for item in items:
            write_item(item, message.items.add(), "enqueue_batch")
        size = message.ByteSize()
        if size > limits.MESSAGE_OUT_BYTES_MAX:
            raise InvalidArgumentError(
                f"the batch has {size} bytes, at most {limits.MESSAGE_OUT_BYTES_MAX} can be sent; split it",
                operation="enqueue_batch",
            )
        answer = await self._connection.call(methods.ENQUEUE_BATCH, message, operation="enqueue_batch", timeout=timeout)
        return EnqueuedBatch(batch_id=answer.batch_id, jobs=tuple(_enqueued(job) for job in answer.jobs))

    @overload
    async def run_command(
        self,
        command: str | Callable[..., Any] | object,
        request: Any = None,
        options: JobOptions | None = None,
        *,
        result_type: type[T],
        wait: timedelta | None = None,
    ) -> T: ...

    @overload
    async def run_command(
        self,
        command: str | Callable[..., Any] | object,
        request: Any = None,
        options: JobOptions | None = None,
        *,
        result_type: None = None,
        wait: timedelta | None = None,
    ) -> Any: ...

    async def run_command(
        self,
        command: str | Callable[..., Any] | object,
        request: Any = None,
        options: JobOptions | None = None,
        *,
        result_type: type[Any] | None = None,
        wait: timedelta | None = None,
    ) -> Any:
        """Runs a command on a worker now, stores nothing, and gives its result. It is tried once and may be lost in a crash.

        Args:
            command: Name of the command, its handler, or an object that is the request.
            request: Request given to the handler.
            options: How to run it; only some options are allowed.
            result_type: What the result is read as. Default: the JSON value.
            wait: How long to wait for the result; the run goes on after it. Default: until it has ended.

        Raises:
            JobFailedError: The run failed.
            JobCancelledError: The run was cancelled.
            DeadlineExceededError: `wait` is over; `metadata["ref_id"]` is the run, which `watch` and `cancel` take.
            UnavailableError: With the reason `NO_WORKER_HERE` when nobody who serves the command came within the time that the
                server waits (2 s).
        """
        message = _run_request(command, request, options, "run_command")
        if wait is not None:
            message.wait.CopyFrom(duration(wait))
        # Without a wait the server answers when the run has ended, which may begin as late as its timeout and last as long.
        longest = wait if wait is not None else 2 * ((options and options.timeout) or timedelta(minutes=10))
        answer = await self._connection.call(
            methods.RUN_COMMAND,
            message,
            operation="run_command",
            repeat=Repeat.REFUSED,
            timeout=longest + limits.CALL_TIMEOUT,
            repeat_for=limits.CALL_TIMEOUT,
        )
        state = read_enum(JobState, job_pb2.JobState.DESCRIPTOR, answer.state)
        if state is JobState.COMPLETED or state is JobState.EXECUTED:
            return read_result(read_payload(answer.result), result_type)
        error = read(JobError, answer.error) if answer.HasField("error") else None
        if state is JobState.FAILED:
            raise _failed(error, operation="run_command", attempt_count=1)
        if state is JobState.CANCELLED:
            raise JobCancelledError(error.message if error else "", operation="run_command")
        raise DeadlineExceededError(
            f"the run {answer.ref_id} has not ended, it goes on",
            operation="run_command",
            metadata={"ref_id": answer.ref_id},
        )

    async def start_command(
        self, command: str | Callable[..., Any] | object, request: Any = None, options: JobOptions | None = None
    ) -> RunCommandResult:
        """As `run_command`, but returns at once: `watch`, `wait`, `get` and `cancel` take the ref id.

        Args:
            command: Name of the command, its handler, or an object that is the request.
            request: Request given to the handler.
            options: How to run it; only some options are allowed.

        Raises:
            UnavailableError: As for `run_command`.
        """
        message = _run_request(command, request, options, "start_command")
        message.detach = True
        answer = await self._connection.call(methods.RUN_COMMAND, message, operation="start_command", repeat=Repeat.REFUSED)
        return read(RunCommandResult, answer)

    # Read and follow

    async def get(self, job: int | str | EnqueuedJob, *, run: int | None = None, include_parent: bool = False) -> JobResult:
        """A job with its full record.

        Args:
            job: Its id, its ref id, or what `enqueue` returned.
            run: Run to show. Default: the latest.
            include_parent: Whether to add the job that this one descends from.

        Raises:
            NotFoundError: Neither queue nor history has it.
        """
        job_id, ref_id = _target(job)
        if job_id:
            by_id = job_service_pb2.GetJobRequest(job_id=job_id, run=run or 0, include_parent=include_parent)
            return read(JobResult, (await self._connection.call(methods.GET_JOB, by_id, operation="get")).job)
        by_ref = job_service_pb2.GetJobByRefIdRequest(ref_id=ref_id, run=run or 0, include_parent=include_parent)
        answer = await self._connection.call(methods.GET_JOB_BY_REF_ID, by_ref, operation="get")
        return read(JobResult, answer.job)

    async def find(self, job: int | str | EnqueuedJob) -> JobResult | None:
        """As `get`, but None when neither queue nor history has it."""
        try:
            return await self.get(job)
        except NotFoundError:
            return None

    def list_jobs(
        self,
        filter: JobFilter | None = None,
        *,
        order: ListOrder = ListOrder.NEWEST_FIRST,
        month: str | None = None,
        limit: int | None = None,
    ) -> Pages[JobSummary]:
        """Jobs that match a filter, page by page as they are read.

        Args:
            filter: Which jobs. Default: all.
            order: Order.
            month: Month of creation to look in, as `YYYY-MM`. Default: live jobs and the history of the two newest months.
            limit: Most jobs. Default: all.
        """
        message = job_service_pb2.ListJobsRequest(month=month or "")
        write(_Ordered(order=order), message, "list_jobs")
        if filter is not None:
            write(filter, message.filter, "list_jobs", "filter.")
        return self._pages(methods.LIST_JOBS, message, "list_jobs", "jobs", JobSummary, limit)

    def watch(
        self,
        job: int | str | EnqueuedJob,
        *,
        resume_token: str | None = None,
        until: WatchUntil = WatchUntil.OUTCOME,
        include_logs: bool = True,
    ) -> AsyncIterator[WatchEvent]:
        """Follows a job: a snapshot, then its changes, progress and log lines, and a last snapshot with the outcome.

        After a break it goes on where it stopped, as long as it takes.

        Args:
            job: Its id, its ref id, or what `enqueue` returned.
            resume_token: Token of the last event of an earlier watch: go on after it. Default: from the start.
            until: When it ends.
            include_logs: Whether to give log lines.

        Raises:
            NotFoundError: Neither queue nor history has it.
        """
        message = job_service_pb2.WatchJobRequest(resume_token=resume_token or "", include_logs=include_logs)
        _set_target(message, job)
        write(_Until(until=until), message, "watch")
        return watch_job(self._connection, message)

    def watch_jobs(
        self,
        filter: JobFilter | None = None,
        *,
        resume_token: str | None = None,
    ) -> AsyncIterator[WatchJobsEvent]:
        """Follows the jobs that match a filter: those that now do, then every change. Never ends by itself.

        Args:
            filter: Which jobs. Default: all.
            resume_token: Token of the last event of an earlier watch with the same filter.
        """
        message = job_service_pb2.WatchJobsRequest(resume_token=resume_token or "")
        if filter is not None:
            write(filter, message.filter, "watch_jobs", "filter.")
        return watch_jobs(self._connection, message)

    @overload
    async def wait(self, job: int | str | EnqueuedJob, *, result_type: type[T], timeout: timedelta | None = None) -> T: ...

    @overload
    async def wait(self, job: int | str | EnqueuedJob, *, result_type: None = None, timeout: timedelta | None = None) -> Any: ...

    async def wait(
        self,
        job: int | str | EnqueuedJob,
        *,
        result_type: type[Any] | None = None,
        timeout: timedelta | None = None,
    ) -> Any:
        """Waits until a job has its outcome, and gives its result.

        Args:
            job: Its id, its ref id, or what `enqueue` returned.
            result_type: What the result is read as. Default: the JSON value.
            timeout: How long to wait; the job goes on after it. Default: for ever.

        Raises:
            JobFailedError: The job failed; it carries code, message and attempts.
            JobCancelledError: The job was cancelled.
            DeadlineExceededError: `timeout` is over.
            PermissionDeniedError: The API key may not read payloads.
            UnreadableRequestError: The result does not have the form of `result_type`.
        """
        ended = await self.settled(job, timeout=timeout)
        failed = ended.state is JobState.FAILED
        return result_of(ended, result_type, attempts=await self._attempts_for_error(ended.summary) if failed else ())

    async def settled(self, job: int | str | EnqueuedJob, *, timeout: timedelta | None = None) -> JobResult:
        """Waits until a job has its outcome, good or not, and gives its record.

        Args:
            job: Its id, its ref id, or what `enqueue` returned.
            timeout: How long to wait; the job goes on after it. Default: for ever.

        Raises:
            DeadlineExceededError: `timeout` is over.
        """
        try:
            return await asyncio.wait_for(self._ended(job), None if timeout is None else timeout.total_seconds())
        except asyncio.TimeoutError:
            raise DeadlineExceededError(f"job {_target(job)} has not ended, it goes on", operation="wait") from None

    async def explain(self, job: int | str | EnqueuedJob) -> Explanation:
        """Says why a job is not running."""
        message = job_service_pb2.ExplainJobRequest()
        _set_target(message, job)
        answer = await self._connection.call(methods.EXPLAIN_JOB, message, operation="explain")
        return read(Explanation, answer)

    def list_attempts(self, job_id: int, *, run: int | None = None) -> Pages[JobAttempt]:
        """Attempts of a job, oldest first; of all runs unless one is given."""
        message = job_service_pb2.ListJobAttemptsRequest(job_id=job_id, run=run or 0)
        return self._pages(methods.LIST_JOB_ATTEMPTS, message, "list_attempts", "attempts", JobAttempt)

    def list_logs(
        self,
        job_id: int,
        *,
        run: int | None = None,
        epoch: int | None = None,
        from_sequence: int | None = None,
        min_level: LogLevel | None = None,
    ) -> Pages[LogLine]:
        """Log lines of a run, oldest first.

        Args:
            job_id: Id of the job.
            run: Run. Default: the latest.
            epoch: Fencing token of the attempt to begin with. Default: the first.
            from_sequence: First line wanted of that attempt. Default: the first.
            min_level: Only lines of this level and above.
        """
        message = job_service_pb2.ListJobLogsRequest(
            job_id=job_id, run=run or 0, epoch=epoch or 0, from_sequence=from_sequence or 0
        )
        write(_MinLevel(min_level=min_level), message, "list_logs")
        return self._pages(methods.LIST_JOB_LOGS, message, "list_logs", "lines", LogLine)

    async def get_batch(self, batch_id: str) -> Batch:
        """Counts the jobs of a batch by state."""
        message = job_service_pb2.GetBatchRequest(batch_id=batch_id)
        return read(Batch, (await self._connection.call(methods.GET_BATCH, message, operation="get_batch")).batch)

    def list_deliveries(self, job_id: int | None = None, *, states: Sequence[DeliveryState] = ()) -> Pages[Delivery]:
        """Notifications with their tries, newest first."""
        message = job_service_pb2.ListDeliveriesRequest(job_id=job_id or 0)
        write(_States(states=tuple(states)), message, "list_deliveries")
        return self._pages(methods.LIST_DELIVERIES, message, "list_deliveries", "deliveries", Delivery)

    async def replay_delivery(self, delivery_id: int) -> Delivery:
        """Sends a notification once more, under the same delivery id."""
        message = job_service_pb2.ReplayDeliveryRequest(delivery_id=delivery_id)
        answer = await self._connection.call(methods.REPLAY_DELIVERY, message, operation="replay_delivery", repeat=Repeat.REFUSED)
        return read(Delivery, answer.delivery)

    # Cancel and requeue

    async def cancel(self, job: int | str | EnqueuedJob, reason: str = "", *, grace: timedelta | None = None) -> CancelJobResult:
        """Cancels a job: at once when it waits, cooperatively when it runs. Dependants are cancelled too.

        Args:
            job: Its id, its ref id, or what `enqueue` returned.
            reason: Why, in words; shown on the job and given to the handler.
            grace: How long a running handler may take to stop. Default: 30 s.
        """
        message = job_service_pb2.CancelJobRequest(reason=reason)
        _set_target(message, job)
        if grace is not None:
            message.grace.CopyFrom(duration(grace))
        answer = await self._connection.call(methods.CANCEL_JOB, message, operation="cancel")
        return read(CancelJobResult, answer)

    async def cancel_jobs(
        self,
        filter: JobFilter,
        reason: str = "",
        *,
        grace: timedelta | None = None,
        validate_only: bool = False,
    ) -> CancelJobsResult:
        """Cancels all jobs that match a filter, which must not be empty; `validate_only` only counts."""
        message = job_service_pb2.CancelJobsRequest(reason=reason, validate_only=validate_only)
        write(filter, message.filter, "cancel_jobs", "filter.")
        if grace is not None:
            message.grace.CopyFrom(duration(grace))
        answer = await self._connection.call(methods.CANCEL_JOBS, message, operation="cancel_jobs")
        return read(CancelJobsResult, answer)

    async def requeue(
        self,
        job_id: int,
        *,
        run: int | None = None,
        include_dependants: bool = False,
        request_id: str | None = None,
    ) -> RequeueJobResult:
        """Starts a new run of a failed or cancelled job under the same id.

        Args:
            job_id: Id of the job.
            run: Run to do again, so that a repeated call requeues once. Default: the latest.
            include_dependants: Whether to requeue the dependants too that were cancelled because of it.
            request_id: Makes a repeat of this call do nothing and answer the same, for 24 h. Default: a fresh one.
        """
        message = job_service_pb2.RequeueJobRequest(
            job_id=job_id,
            run=run or 0,
            include_dependants=include_dependants,
            request_id=request_id or str(uuid.uuid4()),
        )
        answer = await self._connection.call(methods.REQUEUE_JOB, message, operation="requeue")
        return read(RequeueJobResult, answer)

    async def requeue_jobs(
        self,
        filter: JobFilter,
        *,
        include_dependants: bool = False,
        validate_only: bool = False,
        month: str | None = None,
    ) -> RequeueJobsResult:
        """Requeues all failed or cancelled jobs that match a filter, which must not be empty."""
        message = job_service_pb2.RequeueJobsRequest(
            include_dependants=include_dependants, validate_only=validate_only, month=month or ""
        )
        write(filter, message.filter, "requeue_jobs", "filter.")
        answer = await self._connection.call(methods.REQUEUE_JOBS, message, operation="requeue_jobs")
        return read(RequeueJobsResult, answer)

    # Recurring tasks

    async def put_recurring_task(self, task: RecurringTask) -> PutRecurringTaskResult:
        """Makes or updates a task by name. Putting it again never fires, resets or unpauses it.

        Example:
            >>> async def nightly(client: Client) -> None:
            ...     schedule = Schedule(cron="0 3 * * *", time_zone="Europe/Vienna")
            ...     await client.put_recurring_task(RecurringTask(name="nightly", schedule=schedule, command="clean_up"))
        """
        message = recurring_task_service_pb2.PutRecurringTaskRequest()
        write(task, message.task, "put_recurring_task", "task.")
        if not task.name:
            message.task.name = task.command or _api_name(task.api)
        answer = await self._connection.call(methods.PUT_RECURRING_TASK, message, operation="put_recurring_task")
        return read(PutRecurringTaskResult, answer)

    async def get_recurring_task(self, name: str) -> RecurringTask:
        """A task by name."""
        message = recurring_task_service_pb2.GetRecurringTaskRequest(name=name)
        answer = await self._connection.call(methods.GET_RECURRING_TASK, message, operation="get_recurring_task")
        return read(RecurringTask, answer.task)

    def list_recurring_tasks(
        self, *, name_prefix: str = "", command: str = "", paused: bool | None = None, enabled: bool | None = None
    ) -> Pages[RecurringTask]:
        """Tasks, by name, without their requests.

        Args:
            name_prefix: Only tasks whose name starts so.
            command: Only tasks that run this command.
            paused: Only tasks that an operator has paused, or only those that none has.
            enabled: Only tasks that their program has enabled, or only those that it has not.
        """
        message = recurring_task_service_pb2.ListRecurringTasksRequest(name_prefix=name_prefix, command=command)
        if paused is not None:
            message.paused = paused
        if enabled is not None:
            message.enabled = enabled
        return self._pages(methods.LIST_RECURRING_TASKS, message, "list_recurring_tasks", "tasks", RecurringTask)

    async def delete_recurring_task(self, name: str) -> RecurringTask:
        """Deletes a task; its jobs stay as they are."""
        message = recurring_task_service_pb2.DeleteRecurringTaskRequest(name=name)
        answer = await self._connection.call(
            methods.DELETE_RECURRING_TASK, message, operation="delete_recurring_task", repeat=Repeat.REFUSED
        )
        return read(RecurringTask, answer.task)

    async def pause_recurring_task(self, name: str, reason: str = "") -> RecurringTask:
        """Pauses a task: it is not due until it is resumed."""
        message = recurring_task_service_pb2.PauseRecurringTaskRequest(name=name, reason=reason)
        answer = await self._connection.call(methods.PAUSE_RECURRING_TASK, message, operation="pause_recurring_task")
        return read(RecurringTask, answer.task)

    async def resume_recurring_task(self, name: str) -> RecurringTask:
        """Resumes a task: it goes on with the next due time from now."""
        message = recurring_task_service_pb2.ResumeRecurringTaskRequest(name=name)
        answer = await self._connection.call(methods.RESUME_RECURRING_TASK, message, operation="resume_recurring_task")
        return read(RecurringTask, answer.task)

    async def trigger_recurring_task(self, name: str, *, request_id: str | None = None) -> TriggeredRun:
        """Runs a task now, paused or not; when it is due next stays as it is."""
        message = recurring_task_service_pb2.TriggerRecurringTaskRequest(name=name, request_id=request_id or str(uuid.uuid4()))
        answer = await self._connection.call(methods.TRIGGER_RECURRING_TASK, message, operation="trigger_recurring_task")
        return read(TriggeredRun, answer)

    async def preview_schedule(
        self,
        schedule: Schedule,
        count: int = 5,
        *,
        after_time: datetime | None = None,
        end_time: datetime | None = None,
    ) -> SchedulePreview:
        """The next times of a schedule, without storing anything."""
        message = recurring_task_service_pb2.PreviewScheduleRequest(count=count)
        write(schedule, message.schedule, "preview_schedule", "schedule.")
        write(_TimeRange(after_time=after_time, end_time=end_time), message, "preview_schedule")
        answer = await self._connection.call(methods.PREVIEW_SCHEDULE, message, operation="preview_schedule")
        return read(SchedulePreview, answer)

    # Queues

    async def get_queue(self, name: str) -> Queue:
        """A queue by name."""
        message = queue_service_pb2.GetQueueRequest(name=name)
        return read(Queue, (await self._connection.call(methods.GET_QUEUE, message, operation="get_queue")).queue)

    def list_queues(self) -> Pages[Queue]:
        """Queues, by name."""
        return self._pages(methods.LIST_QUEUES, queue_service_pb2.ListQueuesRequest(), "list_queues", "queues", Queue)

    async def pause_queue(self, name: str, reason: str = "") -> Queue:
        """Pauses a queue on all servers: running jobs go on, no other starts."""
        message = queue_service_pb2.PauseQueueRequest(name=name, reason=reason)
        answer = await self._connection.call(methods.PAUSE_QUEUE, message, operation="pause_queue")
        return read(Queue, answer.queue)

    async def resume_queue(self, name: str) -> Queue:
        """Resumes a queue."""
        message = queue_service_pb2.ResumeQueueRequest(name=name)
        answer = await self._connection.call(methods.RESUME_QUEUE, message, operation="resume_queue")
        return read(Queue, answer.queue)

    async def update_queue(
        self, name: str, *, concurrency_limit: int | Keep | None = Keep.KEEP, rate_limit: RateLimit | Keep | None = Keep.KEEP
    ) -> Queue:
        """Sets limits of a queue over all worker processes: None lifts a limit, one that is left out stays as it is."""
        given = {"concurrency_limit": concurrency_limit, "rate_limit": rate_limit}
        changes: dict[str, Any] = {field: value for field, value in given.items() if not isinstance(value, Keep)}
        if not changes:
            raise InvalidArgumentError("give concurrency_limit, rate_limit or both", operation="update_queue")
        message = queue_service_pb2.UpdateQueueRequest()
        write(Queue(name=name, **changes), message.queue, "update_queue", "queue.")
        message.update_mask.paths.extend(changes)
        answer = await self._connection.call(methods.UPDATE_QUEUE, message, operation="update_queue")
        return read(Queue, answer.queue)

    # Locks

    def lock(self, name: str, *, owner: str | None = None, lease_time: timedelta = limits.LOCK_LEASE) -> Lock:
        """A named lock, to be acquired with `async with` or `acquire`.

        Args:
            name: Name of the lock.
            owner: Who wants it, for people.
            lease_time: How long it is held without a sign of life: 5 s to 10 min.
        """
        return Lock(self._connection, name, owner=owner, lease_time=lease_time)

    async def renew_lock(self, key: LockKey, lease_time: timedelta = limits.LOCK_LEASE) -> timedelta:
        """Holds a lock for longer that nothing renews by itself: one of `Lock.detach`, here or in another process.

        Args:
            key: What `Lock.detach` gave.
            lease_time: How long it is held from now: 5 s to 10 min.

        Returns:
            How long it is held, counted from when the call began.

        Raises:
            LockLostError: Another holds it, or it was broken.
        """
        message = lock_service_pb2.RenewLockRequest(
            name=key.name, owner_id=key.owner_id, fencing_token=key.fencing_token, lease_time=duration(lease_time)
        )
        answer = await self._connection.call(methods.RENEW_LOCK, message, operation="renew_lock")
        return answer.lease_time.ToTimedelta()

    async def release_lock(self, key: LockKey) -> bool:
        """Releases a lock of `Lock.detach`, here or in another process. Returns whether it was held until now."""
        message = lock_service_pb2.ReleaseLockRequest(name=key.name, owner_id=key.owner_id, fencing_token=key.fencing_token)
        answer = await self._connection.call(methods.RELEASE_LOCK, message, operation="release_lock")
        return answer.released

    def list_locks(self, *, name_prefix: str = "") -> Pages[LockInfo]:
        """Locks that are held, by name."""
        message = lock_service_pb2.ListLocksRequest(name_prefix=name_prefix)
        return self._pages(methods.LIST_LOCKS, message, "list_locks", "locks", LockInfo)

    async def break_lock(self, name: str, reason: str = "", *, fencing_token: int | None = None) -> LockInfo:
        """Takes a lock from its holder; only from the holder with this fencing token, if one is given."""
        message = lock_service_pb2.BreakLockRequest(name=name, reason=reason, fencing_token=fencing_token or 0)
        answer = await self._connection.call(methods.BREAK_LOCK, message, operation="break_lock", repeat=Repeat.REFUSED)
        return read(LockInfo, answer.lock)

    # Workers and servers

    def list_workers(self, *, command: str = "", queue: str = "") -> Pages[WorkerProcess]:
        """Worker processes, by name and start."""
        message = worker_service_pb2.ListWorkersRequest(command=command, queue=queue)
        return self._pages(methods.LIST_WORKERS, message, "list_workers", "workers", WorkerProcess)

    async def drain_worker(
        self,
        name: str | None = None,
        *,
        instance_id: str | None = None,
        reason: str = "",
        grace: timedelta | None = None,
    ) -> tuple[WorkerProcess, ...]:
        """Tells worker processes, all with a name or one by its instance id, to end what they hold and claim nothing more."""
        message = worker_service_pb2.DrainWorkerRequest(reason=reason)
        if instance_id is not None:
            message.instance_id = instance_id
        elif name is not None:
            message.name = name
        if grace is not None:
            message.grace.CopyFrom(duration(grace))
        answer = await self._connection.call(methods.DRAIN_WORKER, message, operation="drain_worker")
        return tuple(read(WorkerProcess, worker) for worker in answer.workers)

    async def get_overview(self, hours: int = 24) -> Overview:
        """Figures for a dashboard, at most 2 s old."""
        message = admin_service_pb2.GetOverviewRequest(hours=hours)
        answer = await self._connection.call(methods.GET_OVERVIEW, message, operation="get_overview")
        return read(Overview, answer.overview)

    def list_commands(self, *, name_prefix: str = "") -> Pages[Command]:
        """Commands that are served or that live jobs name, by name."""
        message = admin_service_pb2.ListCommandsRequest(name_prefix=name_prefix)
        return self._pages(methods.LIST_COMMANDS, message, "list_commands", "commands", Command)

    def list_servers(self) -> Pages[Server]:
        """Servers on this database, by name."""
        return self._pages(methods.LIST_SERVERS, admin_service_pb2.ListServersRequest(), "list_servers", "servers", Server)

    def list_history_months(self) -> Pages[HistoryMonth]:
        """Months of history, newest first."""
        return self._pages(
            methods.LIST_HISTORY_MONTHS,
            admin_service_pb2.ListHistoryMonthsRequest(),
            "list_history_months",
            "months",
            HistoryMonth,
        )

    def export_history_month(
        self, month: str, *, include_attempts: bool = True, include_logs: bool = True, resume_token: str | None = None
    ) -> AsyncIterator[HistoryRecord]:
        """A month of history, job by job: each run, then its attempts, then its log lines. Goes on after every break.

        Args:
            month: Month, as `YYYY-MM` in UTC.
            include_attempts: Whether to give attempts.
            include_logs: Whether to give log lines.
            resume_token: Token of the last record of an earlier export: go on after it. Default: from the start.
        """
        message = admin_service_pb2.ExportHistoryMonthRequest(
            month=month,
            include_attempts=include_attempts,
            include_logs=include_logs,
            resume_token=resume_token or "",
        )
        return export_history_month(self._connection, message)

    async def drop_history_month(self, month: str, *, validate_only: bool = False) -> HistoryMonth:
        """Drops a month of history with its attempts and logs, and gives it as it was; `validate_only` only counts."""
        message = admin_service_pb2.DropHistoryMonthRequest(month=month, validate_only=validate_only)
        answer = await self._connection.call(
            methods.DROP_HISTORY_MONTH, message, operation="drop_history_month", repeat=Repeat.REFUSED
        )
        return read(HistoryMonth, answer.month)

    # Inside

    async def _ended(self, job: int | str | EnqueuedJob) -> JobResult:
        last: JobResult | None = None
        async for event in self.watch(job, include_logs=False):
            if isinstance(event, SnapshotEvent):
                last = event.job
        if last is None or not last.state.settled:
            raise HaulierError("the watch ended before the job did; this is a fault of the server", operation="wait")
        return last

    async def _attempts_for_error(self, summary: JobSummary) -> tuple[JobAttempt, ...]:
        if summary.transient or not summary.id:
            return ()
        try:
            return tuple([attempt async for attempt in self.list_attempts(summary.id, run=summary.run)])
        except HaulierError:
            return ()

    def _pages(
        self,
        method: methods.Method[Any, Any],
        message: Any,
        operation: str,
        field: str,
        kind: type[T],
        limit: int | None = None,
    ) -> Pages[T]:
        async def ask(token: str, size: int) -> Page[T]:
            message.page_token, message.page_size = token, size
            answer = await self._connection.call(method, message, operation=operation)
            return Page(items=tuple(read(kind, item) for item in getattr(answer, field)), next_page_token=answer.next_page_token)

        return Pages(ask, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ordered:
    order: ListOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class _Until:
    until: WatchUntil


@dataclass(frozen=True, slots=True, kw_only=True)
class _MinLevel:
    min_level: LogLevel | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _States:
    states: tuple[DeliveryState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _TimeRange:
    after_time: datetime | None
    end_time: datetime | None


def write_options(options: JobOptions | None, message: Any, operation: str) -> None:
    """Fills the options of an enqueue message, with the trace of the current span unless they have one."""
    if options is not None:
        write(options, message.options, operation, "options.")
    if options is None or options.traceparent is None:
        traceparent, tracestate = current_trace()
        if traceparent:
            message.options.traceparent = traceparent
            message.options.tracestate = tracestate


def write_item(item: EnqueueItem, message: enqueue_pb2.EnqueueItem, operation: str) -> None:
    """Fills an item of a batch."""
    message.local_key = item.local_key or ""
    if (item.command is None) == (item.api is None):
        raise InvalidArgumentError("an item needs exactly one of command and api", operation=operation)
    if item.api is not None:
        message.api.request.CopyFrom(encode(item.request, operation))
        write(item.api, message.api.api, operation, "api.")
        write_options(item.options, message.api, operation)
    else:
        name, request = command_name(item.command, item.request)
        message.command.command = name
        message.command.request.CopyFrom(encode(request, operation))
        write_options(item.options, message.command, operation)


def _run_request(command: object, request: Any, options: JobOptions | None, operation: str) -> job_service_pb2.RunCommandRequest:
    name, request = command_name(command, request)
    message = job_service_pb2.RunCommandRequest(command=name, request=encode(request, operation))
    write_options(options, message, operation)
    return message


def _enqueued(answer: Any) -> EnqueuedJob:
    return EnqueuedJob(
        id=answer.job_id,
        ref_id=answer.ref_id,
        created=answer.created,
        state=read_enum(JobState, job_pb2.JobState.DESCRIPTOR, answer.state),
        local_key=getattr(answer, "local_key", "") or None,
    )


def _api_name(api: ApiCall | None) -> str:
    if api is None:
        return ""
    return api.grpc_method or (api.http.path if api.http else "")


def _target(job: int | str | EnqueuedJob) -> tuple[int, str]:
    """Id and ref id, one of which is set."""
    if isinstance(job, EnqueuedJob):
        return (job.id, "") if job.id else (0, job.ref_id)
    if isinstance(job, str):
        return 0, job
    if isinstance(cast("object", job), int) and not isinstance(job, bool):
        return job, ""
    raise InvalidArgumentError(f"a job is named by its id or its ref id, not by a {type(job).__name__}")


def _set_target(message: Any, job: int | str | EnqueuedJob) -> None:
    job_id, ref_id = _target(job)
    if ref_id:
        message.ref_id = ref_id
    else:
        message.job_id = job_id


def read_result(payload: Payload | None, result_type: type[Any] | None) -> Any:
    """A result as a type."""
    value = payload.value if payload else None
    return value if result_type is None else convert(value, result_type, "result")


def result_of(job: JobResult, result_type: type[Any] | None, *, attempts: Sequence[JobAttempt] = ()) -> Any:
    """The result of a job that ended well; the typed error of one that did not."""
    if job.completed is not None:
        if job.payloads_hidden:
            raise PermissionDeniedError(
                f"the result of job {job.summary.id} is hidden: the API key lacks the scope `read payloads`",
                operation="wait",
                reason="PAYLOADS_HIDDEN",
            )
        return read_result(job.completed.result, result_type)
    summary = job.summary
    if summary.state is JobState.CANCELLED:
        reason = summary.cancel_reason or CancelReason.UNKNOWN
        raise JobCancelledError(summary.cancel_message or "", cancel_reason=reason.value, job=job)
    error = job.failed.error if job.failed else summary.error
    raise _failed(error, job=job, attempt_count=summary.attempt, attempts=attempts)


def _failed(
    error: JobError | None,
    *,
    job: JobResult | None = None,
    attempt_count: int,
    attempts: Sequence[JobAttempt] = (),
    operation: str = "wait",
) -> JobFailedError:
    return JobFailedError(
        error.message if error else "",
        error_code=error.code if error else "",
        stack=(error.stack or "") if error else "",
        failure=error.reason.value if error and error.reason else "",
        attempt_count=attempt_count,
        attempts=attempts,
        job=job,
        operation=operation,
    )


def inherit(options: JobOptions | None, parent: Mapping[str, Any]) -> JobOptions:
    """The options with what a job gives to its children filled in where nothing is set."""
    from dataclasses import replace

    base = options or JobOptions()
    given = dict(parent)
    # Claims belong to their user, and a trace state to its trace: they come only along with it.
    if base.user_id:
        del given["user_id"], given["user_claims"]
    if base.traceparent:
        del given["traceparent"], given["tracestate"]
    missing = {name: value for name, value in given.items() if value and not getattr(base, name)}
    return replace(base, **missing)
