import { msOfDuration } from "./duration.js";
import type { Command as CommandMessage } from "./gen/haulier/v1/command_pb.js";
import type { HistoryMonth as MonthMessage } from "./gen/haulier/v1/history_pb.js";
import type { Overview as OverviewMessage } from "./gen/haulier/v1/overview_pb.js";
import type { Queue as QueueMessage } from "./gen/haulier/v1/queue_pb.js";
import type { Server as ServerMessage } from "./gen/haulier/v1/server_pb.js";
import type { WorkerProcess as WorkerMessage } from "./gen/haulier/v1/worker_pb.js";
import { dateOf, enumName, idText } from "./options.js";
import { countsOf, type JobAttempt, type JobCounts, type JobResult, type LogLine } from "./record.js";

/** A queue. */
export interface Queue {
  readonly name: string;
  /** Most jobs that run at once; undefined: no limit. */
  readonly concurrencyLimit: number | undefined;
  /** Most jobs that start in a time; undefined: no limit. */
  readonly rateLimit: { readonly count: number; readonly periodMs: number } | undefined;
  readonly paused: boolean;
  readonly pauseReason: string | undefined;
  readonly pauseTime: Date | undefined;
  readonly counts: JobCounts;
  /** Since when the job that has waited longest could start. */
  readonly oldestReadyTime: Date | undefined;
  readonly workerCount: number;
}

/** A command that a worker process serves. */
export interface DeclaredCommand {
  readonly command: string;
  readonly worker: string | undefined;
  readonly version: string | undefined;
  readonly jsonSchema: string | undefined;
}

/** A worker process: a program that claims jobs and runs them. */
export interface WorkerProcess {
  readonly name: string;
  readonly instanceId: string;
  /** First 8 characters of its session. */
  readonly sessionId: string;
  readonly state: WorkerState | undefined;
  readonly commands: readonly DeclaredCommand[];
  readonly queues: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly slots: number;
  readonly runningJobIds: readonly string[];
  readonly runningCount: number;
  readonly startTime: Date | undefined;
  readonly heartbeatTime: Date | undefined;
  readonly leaseTimeMs: number | undefined;
  readonly completedCount: number;
  readonly failedCount: number;
  readonly sdk: string | undefined;
}

/** How a worker process is. */
export type WorkerState = "active" | "draining" | "lost";

/** A command that worker processes serve or jobs name. */
export interface CommandInfo {
  readonly name: string;
  readonly worker: string | undefined;
  readonly versions: readonly string[];
  readonly jsonSchema: string | undefined;
  readonly workerProcesses: readonly string[];
  readonly workerCount: number;
  readonly waitingCount: number;
  readonly runningCount: number;
  readonly lastRunTime: Date | undefined;
  readonly lastJobId: string | undefined;
  readonly meanDurationMs: number | undefined;
}

/** A server process. */
export interface Server {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly address: string;
  readonly state: "active" | "draining" | "silent" | undefined;
  readonly startTime: Date | undefined;
  readonly heartbeatTime: Date | undefined;
  readonly store: string;
  readonly poolEnabled: boolean;
  readonly workerCount: number;
  /** Whether it is the one that answered. */
  readonly isSelf: boolean;
  readonly durable: boolean;
}

/** A month of history. */
export interface HistoryMonth {
  /** `YYYY-MM` in UTC. */
  readonly month: string;
  readonly state: "open" | "closed" | "archived" | undefined;
  readonly completedCount: number;
  readonly failedCount: number;
  readonly cancelledCount: number;
  readonly liveCount: number;
  readonly sizeBytes: number | undefined;
  readonly lastFinishTime: Date | undefined;
  readonly dropTime: Date | undefined;
}

/** One record of an exported month. */
export type HistoryRecord = { readonly resumeToken: string; readonly jobId: string } & (
  | { readonly kind: "job"; readonly job: JobResult }
  | { readonly kind: "attempt"; readonly attempt: JobAttempt }
  | { readonly kind: "log"; readonly line: LogLine }
);

/** Figures for the dashboard. */
export interface Overview {
  readonly time: Date | undefined;
  readonly counts: JobCounts;
  readonly hours: readonly {
    readonly startTime: Date | undefined;
    readonly enqueued: number;
    readonly completed: number;
    readonly failed: number;
    readonly cancelled: number;
  }[];
  readonly waits: {
    readonly medianMs: number | undefined;
    readonly p95Ms: number | undefined;
    readonly oldestMs: number | undefined;
  };
  readonly commands: readonly {
    readonly command: string;
    readonly waiting: number;
    readonly running: number;
    readonly completed: number;
    readonly failed: number;
    readonly cancelled: number;
    readonly retries: number;
    readonly meanDurationMs: number | undefined;
  }[];
  readonly namedWorkers: readonly {
    readonly worker: string;
    readonly waiting: number;
    readonly runningJobId: string | undefined;
    readonly completed: number;
    readonly failed: number;
  }[];
  readonly workerProcesses: readonly {
    readonly name: string;
    readonly instanceId: string;
    readonly running: number;
    readonly slots: number;
    readonly completed: number;
    readonly failed: number;
  }[];
  readonly workerCount: number;
  readonly slotCount: number;
  readonly pendingDeliveryCount: number;
  readonly recurringTaskCount: number;
  readonly pausedQueues: readonly string[];
  readonly serverVersion: string;
}

export function queueOf(queue: QueueMessage): Queue {
  const { rateLimit } = queue;
  return {
    name: queue.name,
    concurrencyLimit: queue.concurrencyLimit,
    rateLimit: rateLimit && {
      count: rateLimit.count,
      periodMs: rateLimit.period === undefined ? 1_000 : msOfDuration(rateLimit.period),
    },
    paused: queue.paused,
    pauseReason: queue.pauseReason || undefined,
    pauseTime: dateOf(queue.pauseTime),
    counts: countsOf(queue.counts),
    oldestReadyTime: dateOf(queue.oldestReadyTime),
    workerCount: queue.workerCount,
  };
}

export function workerOf(worker: WorkerMessage): WorkerProcess {
  return {
    name: worker.name,
    instanceId: worker.instanceId,
    sessionId: worker.sessionId,
    state: enumName(["", "active", "draining", "lost"] as const, worker.state),
    commands: worker.commands.map((served) => ({
      command: served.command,
      worker: served.worker || undefined,
      version: served.version || undefined,
      jsonSchema: served.jsonSchema || undefined,
    })),
    queues: worker.queues,
    labels: worker.labels,
    slots: worker.slots,
    runningJobIds: worker.runningJobIds.map(String),
    runningCount: worker.runningCount,
    startTime: dateOf(worker.startTime),
    heartbeatTime: dateOf(worker.heartbeatTime),
    leaseTimeMs: worker.leaseTime && msOfDuration(worker.leaseTime),
    completedCount: Number(worker.completedCount),
    failedCount: Number(worker.failedCount),
    sdk: worker.sdk || undefined,
  };
}

export function commandOf(command: CommandMessage): CommandInfo {
  return {
    name: command.name,
    worker: command.worker || undefined,
    versions: command.versions,
    jsonSchema: command.jsonSchema || undefined,
    workerProcesses: command.workerProcesses,
    workerCount: command.workerCount,
    waitingCount: Number(command.waitingCount),
    runningCount: Number(command.runningCount),
    lastRunTime: dateOf(command.lastRunTime),
    lastJobId: idText(command.lastJobId),
    meanDurationMs: command.meanDuration && msOfDuration(command.meanDuration),
  };
}

export function serverOf(server: ServerMessage): Server {
  return {
    id: server.id,
    name: server.name,
    version: server.version,
    address: server.address,
    state: enumName(["", "active", "draining", "silent"] as const, server.state),
    startTime: dateOf(server.startTime),
    heartbeatTime: dateOf(server.heartbeatTime),
    store: server.store,
    poolEnabled: server.poolEnabled,
    workerCount: server.workerCount,
    isSelf: server.isSelf,
    durable: server.durable,
  };
}

export function monthOf(month: MonthMessage): HistoryMonth {
  return {
    month: month.month,
    state: enumName(["", "open", "closed", "archived"] as const, month.state),
    completedCount: Number(month.completedCount),
    failedCount: Number(month.failedCount),
    cancelledCount: Number(month.cancelledCount),
    liveCount: Number(month.liveCount),
    sizeBytes: Number(month.sizeBytes) || undefined,
    lastFinishTime: dateOf(month.lastFinishTime),
    dropTime: dateOf(month.dropTime),
  };
}

export function overviewOf(overview: OverviewMessage): Overview {
  const { waits } = overview;
  return {
    time: dateOf(overview.time),
    counts: countsOf(overview.counts),
    hours: overview.hours.map((hour) => ({
      startTime: dateOf(hour.startTime),
      enqueued: Number(hour.enqueued),
      completed: Number(hour.completed),
      failed: Number(hour.failed),
      cancelled: Number(hour.cancelled),
    })),
    waits: {
      medianMs: waits?.median && msOfDuration(waits.median),
      p95Ms: waits?.p95 && msOfDuration(waits.p95),
      oldestMs: waits?.oldest && msOfDuration(waits.oldest),
    },
    commands: overview.commands.map((stats) => ({
      command: stats.command,
      waiting: Number(stats.waiting),
      running: Number(stats.running),
      completed: Number(stats.completed),
      failed: Number(stats.failed),
      cancelled: Number(stats.cancelled),
      retries: Number(stats.retries),
      meanDurationMs: stats.meanDuration && msOfDuration(stats.meanDuration),
    })),
    namedWorkers: overview.namedWorkers.map((stats) => ({
      worker: stats.worker,
      waiting: Number(stats.waiting),
      runningJobId: idText(stats.runningJobId),
      completed: Number(stats.completed),
      failed: Number(stats.failed),
    })),
    workerProcesses: overview.workerProcesses.map((stats) => ({
      name: stats.name,
      instanceId: stats.instanceId,
      running: stats.running,
      slots: stats.slots,
      completed: Number(stats.completed),
      failed: Number(stats.failed),
    })),
    workerCount: overview.workerCount,
    slotCount: Number(overview.slotCount),
    pendingDeliveryCount: Number(overview.pendingDeliveryCount),
    recurringTaskCount: Number(overview.recurringTaskCount),
    pausedQueues: overview.pausedQueues,
    serverVersion: overview.serverVersion,
  };
}
