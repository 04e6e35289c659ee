"""Every method of the contract with the types of its messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from .v1 import admin_service_pb2 as admin
from .v1 import job_service_pb2 as job
from .v1 import lock_service_pb2 as lock
from .v1 import queue_service_pb2 as queue
from .v1 import recurring_task_service_pb2 as recurring
from .v1 import worker_service_pb2 as worker

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


@dataclass(frozen=True, slots=True, eq=False)
class Method(Generic[Req, Res]):
    """A method of a service."""

    service: str
    name: str
    request: type[Req]
    response: type[Res]

    @property
    def path(self) -> str:
        """Path of the call."""
        return f"/haulier.v1.{self.service}/{self.name}"


ENQUEUE_COMMAND = Method("JobService", "EnqueueCommand", job.EnqueueCommandRequest, job.EnqueueCommandResponse)
ENQUEUE_API = Method("JobService", "EnqueueApi", job.EnqueueApiRequest, job.EnqueueApiResponse)
ENQUEUE_BATCH = Method("JobService", "EnqueueBatch", job.EnqueueBatchRequest, job.EnqueueBatchResponse)
RUN_COMMAND = Method("JobService", "RunCommand", job.RunCommandRequest, job.RunCommandResponse)
GET_JOB = Method("JobService", "GetJob", job.GetJobRequest, job.GetJobResponse)
GET_JOB_BY_REF_ID = Method("JobService", "GetJobByRefId", job.GetJobByRefIdRequest, job.GetJobByRefIdResponse)
LIST_JOBS = Method("JobService", "ListJobs", job.ListJobsRequest, job.ListJobsResponse)
WATCH_JOB = Method("JobService", "WatchJob", job.WatchJobRequest, job.WatchJobResponse)
WATCH_JOBS = Method("JobService", "WatchJobs", job.WatchJobsRequest, job.WatchJobsResponse)
CANCEL_JOB = Method("JobService", "CancelJob", job.CancelJobRequest, job.CancelJobResponse)
CANCEL_JOBS = Method("JobService", "CancelJobs", job.CancelJobsRequest, job.CancelJobsResponse)
REQUEUE_JOB = Method("JobService", "RequeueJob", job.RequeueJobRequest, job.RequeueJobResponse)
REQUEUE_JOBS = Method("JobService", "RequeueJobs", job.RequeueJobsRequest, job.RequeueJobsResponse)
LIST_JOB_ATTEMPTS = Method("JobService", "ListJobAttempts", job.ListJobAttemptsRequest, job.ListJobAttemptsResponse)
LIST_JOB_LOGS = Method("JobService", "ListJobLogs", job.ListJobLogsRequest, job.ListJobLogsResponse)
GET_BATCH = Method("JobService", "GetBatch", job.GetBatchRequest, job.GetBatchResponse)
LIST_DELIVERIES = Method("JobService", "ListDeliveries", job.ListDeliveriesRequest, job.ListDeliveriesResponse)
REPLAY_DELIVERY = Method("JobService", "ReplayDelivery", job.ReplayDeliveryRequest, job.ReplayDeliveryResponse)
EXPLAIN_JOB = Method("JobService", "ExplainJob", job.ExplainJobRequest, job.ExplainJobResponse)

REGISTER_WORKER = Method("WorkerService", "RegisterWorker", worker.RegisterWorkerRequest, worker.RegisterWorkerResponse)
CLAIM_JOB = Method("WorkerService", "ClaimJob", worker.ClaimJobRequest, worker.ClaimJobResponse)
REPORT_JOBS = Method("WorkerService", "ReportJobs", worker.ReportJobsRequest, worker.ReportJobsResponse)
UNREGISTER_WORKER = Method("WorkerService", "UnregisterWorker", worker.UnregisterWorkerRequest, worker.UnregisterWorkerResponse)
LIST_WORKERS = Method("WorkerService", "ListWorkers", worker.ListWorkersRequest, worker.ListWorkersResponse)
DRAIN_WORKER = Method("WorkerService", "DrainWorker", worker.DrainWorkerRequest, worker.DrainWorkerResponse)

PUT_RECURRING_TASK = Method(
    "RecurringTaskService", "PutRecurringTask", recurring.PutRecurringTaskRequest, recurring.PutRecurringTaskResponse
)
GET_RECURRING_TASK = Method(
    "RecurringTaskService", "GetRecurringTask", recurring.GetRecurringTaskRequest, recurring.GetRecurringTaskResponse
)
LIST_RECURRING_TASKS = Method(
    "RecurringTaskService",
    "ListRecurringTasks",
    recurring.ListRecurringTasksRequest,
    recurring.ListRecurringTasksResponse,
)
DELETE_RECURRING_TASK = Method(
    "RecurringTaskService",
    "DeleteRecurringTask",
    recurring.DeleteRecurringTaskRequest,
    recurring.DeleteRecurringTaskResponse,
)
PAUSE_RECURRING_TASK = Method(
    "RecurringTaskService",
    "PauseRecurringTask",
    recurring.PauseRecurringTaskRequest,
    recurring.PauseRecurringTaskResponse,
)
RESUME_RECURRING_TASK = Method(
    "RecurringTaskService",
    "ResumeRecurringTask",
    recurring.ResumeRecurringTaskRequest,
    recurring.ResumeRecurringTaskResponse,
)
TRIGGER_RECURRING_TASK = Method(
    "RecurringTaskService",
    "TriggerRecurringTask",
    recurring.TriggerRecurringTaskRequest,
    recurring.TriggerRecurringTaskResponse,
)
PREVIEW_SCHEDULE = Method(
    "RecurringTaskService", "PreviewSchedule", recurring.PreviewScheduleRequest, recurring.PreviewScheduleResponse
)

GET_QUEUE = Method("QueueService", "GetQueue", queue.GetQueueRequest, queue.GetQueueResponse)
LIST_QUEUES = Method("QueueService", "ListQueues", queue.ListQueuesRequest, queue.ListQueuesResponse)
PAUSE_QUEUE = Method("QueueService", "PauseQueue", queue.PauseQueueRequest, queue.PauseQueueResponse)
RESUME_QUEUE = Method("QueueService", "ResumeQueue", queue.ResumeQueueRequest, queue.ResumeQueueResponse)
UPDATE_QUEUE = Method("QueueService", "UpdateQueue", queue.UpdateQueueRequest, queue.UpdateQueueResponse)

ACQUIRE_LOCK = Method("LockService", "AcquireLock", lock.AcquireLockRequest, lock.AcquireLockResponse)
RENEW_LOCK = Method("LockService", "RenewLock", lock.RenewLockRequest, lock.RenewLockResponse)
RELEASE_LOCK = Method("LockService", "ReleaseLock", lock.ReleaseLockRequest, lock.ReleaseLockResponse)
LIST_LOCKS = Method("LockService", "ListLocks", lock.ListLocksRequest, lock.ListLocksResponse)
BREAK_LOCK = Method("LockService", "BreakLock", lock.BreakLockRequest, lock.BreakLockResponse)

GET_OVERVIEW = Method("AdminService", "GetOverview", admin.GetOverviewRequest, admin.GetOverviewResponse)
LIST_COMMANDS = Method("AdminService", "ListCommands", admin.ListCommandsRequest, admin.ListCommandsResponse)
LIST_SERVERS = Method("AdminService", "ListServers", admin.ListServersRequest, admin.ListServersResponse)
LIST_HISTORY_MONTHS = Method("AdminService", "ListHistoryMonths", admin.ListHistoryMonthsRequest, admin.ListHistoryMonthsResponse)
EXPORT_HISTORY_MONTH = Method(
    "AdminService", "ExportHistoryMonth", admin.ExportHistoryMonthRequest, admin.ExportHistoryMonthResponse
)
DROP_HISTORY_MONTH = Method("AdminService", "DropHistoryMonth", admin.DropHistoryMonthRequest, admin.DropHistoryMonthResponse)
