import { create } from "@bufbuild/protobuf";
import { type Command, checkName } from "./command.js";
import { type Duration, durationMessage, msOfDuration } from "./duration.js";
import { RecurringTaskSchema, type RecurringTask as TaskMessage } from "./gen/haulier/v1/recurring_task_pb.js";
import { type Schedule as ScheduleMessage, ScheduleSchema } from "./gen/haulier/v1/schedule_pb.js";
import {
  type ApiCall,
  apiCallMessage,
  apiCallOf,
  dateOf,
  enumName,
  enumNumber,
  idText,
  type JobOptions,
  optionsMessage,
  optionsOf,
  timestamp,
} from "./options.js";
import { Payload, payloadMessage, payloadOf } from "./payload.js";
import { datesOf, errorOf, type JobError, type JobState, stateOf } from "./record.js";

/** When a recurring task is due: a cron expression or an interval. */
export type Schedule = {
  /** Time zone of the cron expression by its IANA name. @default "UTC" */
  readonly timeZone?: string;
  /** What `H` in the cron expression is drawn from. @default the name of the task */
  readonly seed?: string;
} & (
  | {
      /** 5 fields, or 6 with seconds first, or a macro such as `@hourly`. */ readonly cron: string;
      readonly interval?: never;
    }
  | { /** Time from one due time to the next, 1 s to 5 years. */ readonly interval: Duration; readonly cron?: never }
);

/** What to do when a task is due and an earlier run has not ended. */
export type OverlapPolicy = "allow" | "skip" | "buffer_one" | "cancel_previous";
/** What to do about due times missed while no server ran. */
export type CatchUpPolicy = "last" | "none" | "all";

/** A recurring task as a program declares it. */
export interface RecurringTaskDefinition {
  /** Unique name, at most 255 characters. @default the command's name, or the API's target, a space and its method or path */
  readonly name?: string;
  /** Command that it runs. Either this or `api`. */
  readonly command?: string | Command;
  /** API that it calls. */
  readonly api?: ApiCall;
  /** Request of each run. @default nothing */
  readonly request?: unknown;
  /** Options of each run. @default all defaults */
  readonly options?: JobOptions;
  readonly schedule: Schedule;
  /** Run as a transient run rather than as a stored job: at most once for each due time. @default false */
  readonly runCommand?: boolean;
  /** @default "allow" */
  readonly overlapPolicy?: OverlapPolicy;
  /** @default "last" */
  readonly catchUpPolicy?: CatchUpPolicy;
  /** With `all`, how far back missed due times are made up for. @default "1h" */
  readonly catchUpWindow?: Duration;
  /** Not due before this time. @default now */
  readonly startTime?: Date;
  /** Not due at or after this time. @default never ends */
  readonly endTime?: Date;
  /** @default true for a new task, else as it was */
  readonly enabled?: boolean;
  /** For people. @default none */
  readonly description?: string;
}

/** A recurring task as the server has it. */
export interface RecurringTask {
  readonly name: string;
  /** Id, new each time a task of this name is made. */
  readonly id: string;
  readonly command: string | undefined;
  readonly api: ApiCall | undefined;
  /** Request of each run; null in a list, which leaves it out. */
  readonly request: unknown;
  readonly options: JobOptions;
  readonly schedule: Schedule | undefined;
  readonly runCommand: boolean;
  readonly overlapPolicy: OverlapPolicy;
  readonly catchUpPolicy: CatchUpPolicy;
  readonly catchUpWindowMs: number | undefined;
  readonly startTime: Date | undefined;
  readonly endTime: Date | undefined;
  readonly enabled: boolean;
  readonly description: string | undefined;
  /** Whether an operator has paused it. */
  readonly paused: boolean;
  readonly pauseReason: string | undefined;
  readonly createTime: Date | undefined;
  readonly updateTime: Date | undefined;
  /** When it is due next; undefined: never, or not while it is paused or disabled. */
  readonly nextTime: Date | undefined;
  /** The next due times, `nextTime` first, at most 5. */
  readonly upcomingTimes: readonly Date[];
  readonly lastTime: Date | undefined;
  readonly lastJobId: string | undefined;
  readonly lastRefId: string | undefined;
  readonly lastState: JobState | undefined;
  readonly lastError: JobError | undefined;
  readonly runCount: number;
  readonly skipCount: number;
  readonly lastSkipTime: Date | undefined;
  readonly lastSkipReason: string | undefined;
}

const OVERLAP_POLICIES = ["", "allow", "skip", "buffer_one", "cancel_previous"] as const;
const CATCH_UP_POLICIES = ["", "last", "none", "all"] as const;
export const PUT_RESULTS = ["", "created", "updated", "unchanged"] as const;

export function taskMessage(task: RecurringTaskDefinition): TaskMessage {
  const { command, api } = task;
  const name = typeof command === "object" ? command.name : command;
  if (name !== undefined) checkName(name, "task.command");
  return create(RecurringTaskSchema, {
    name: task.name ?? "",
    work:
      name !== undefined
        ? { case: "command", value: name }
        : api === undefined
          ? { case: undefined }
          : { case: "api", value: apiCallMessage(api, "task.api") },
    request: payloadMessage(Payload.of(task.request, "the request of the recurring task")),
    options: optionsMessage(task.options ?? {}, "task.options"),
    schedule: scheduleMessage(task.schedule, "task.schedule"),
    runCommand: task.runCommand ?? false,
    overlapPolicy: enumNumber(OVERLAP_POLICIES, task.overlapPolicy, "task.overlapPolicy"),
    catchUpPolicy: enumNumber(CATCH_UP_POLICIES, task.catchUpPolicy, "task.catchUpPolicy"),
    catchUpWindow: durationMessage(task.catchUpWindow, "task.catchUpWindow"),
    startTime: timestamp(task.startTime, "task.startTime"),
    endTime: timestamp(task.endTime, "task.endTime"),
    enabled: task.enabled,
    description: task.description ?? "",
  });
}

export function scheduleMessage(schedule: Schedule, field = "schedule"): ScheduleMessage {
  const interval = durationMessage(schedule.interval, `${field}.interval`);
  return create(ScheduleSchema, {
    timing:
      schedule.cron !== undefined
        ? { case: "cron", value: schedule.cron }
        : interval === undefined
          ? { case: undefined }
          : { case: "interval", value: interval },
    timeZone: schedule.timeZone ?? "",
    seed: schedule.seed ?? "",
  });
}

function scheduleOf({ timing, timeZone, seed }: ScheduleMessage): Schedule | undefined {
  const rest = { ...(timeZone && { timeZone }), ...(seed && { seed }) };
  if (timing.case === "cron") return { cron: timing.value, ...rest };
  if (timing.case === "interval") return { interval: msOfDuration(timing.value), ...rest };
  return undefined;
}

export function taskOf(task: TaskMessage): RecurringTask {
  return {
    name: task.name,
    id: task.id.toString(),
    command: task.work.case === "command" ? task.work.value : undefined,
    api: task.work.case === "api" ? apiCallOf(task.work.value) : undefined,
    request: payloadOf(task.request).value(),
    options: optionsOf(task.options),
    schedule: task.schedule && scheduleOf(task.schedule),
    runCommand: task.runCommand,
    overlapPolicy: enumName(OVERLAP_POLICIES, task.overlapPolicy) ?? "allow",
    catchUpPolicy: enumName(CATCH_UP_POLICIES, task.catchUpPolicy) ?? "last",
    catchUpWindowMs: task.catchUpWindow && msOfDuration(task.catchUpWindow),
    startTime: dateOf(task.startTime),
    endTime: dateOf(task.endTime),
    enabled: task.enabled ?? true,
    description: task.description || undefined,
    paused: task.paused,
    pauseReason: task.pauseReason || undefined,
    createTime: dateOf(task.createTime),
    updateTime: dateOf(task.updateTime),
    nextTime: dateOf(task.nextTime),
    upcomingTimes: datesOf(task.upcomingTimes),
    lastTime: dateOf(task.lastTime),
    lastJobId: idText(task.lastJobId),
    lastRefId: task.lastRefId || undefined,
    lastState: task.lastState === 0 ? undefined : stateOf(task.lastState),
    lastError: errorOf(task.lastError),
    runCount: Number(task.runCount),
    skipCount: Number(task.skipCount),
    lastSkipTime: dateOf(task.lastSkipTime),
    lastSkipReason: task.lastSkipReason || undefined,
  };
}
