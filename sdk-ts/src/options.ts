import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import * as check from "./check.js";
import { checkName } from "./command.js";
import { type Duration, durationMessage, msOfDuration } from "./duration.js";
import { invalidField } from "./errors.js";
import { type ApiCall as ApiCallMessage, ApiCallSchema } from "./gen/haulier/v1/api_call_pb.js";
import {
  CallbackSchema,
  type Dependency as DependencyMessage,
  DependencySchema,
  type JobOptions as JobOptionsMessage,
  JobOptionsSchema,
  type RetryPolicy as RetryPolicyMessage,
  RetryPolicySchema,
} from "./gen/haulier/v1/options_pb.js";

/** Priority: a number from 1 to 30, higher first, or one of five names (5, 10, 15, 20, 25). */
export type Priority = number | PriorityName;
export type PriorityName = "low" | "below_normal" | "normal" | "above_normal" | "high";
/** What to do when a ref id is taken: fail, or return the job that has it when its content is equal. */
export type RefIdPolicy = "fail" | "return_existing";
/** Order in a named worker: whether a job that waits for its retry holds it (strict) or may be passed (relaxed). */
export type WorkerOrder = "strict" | "relaxed";
/** How waits between retries grow. */
export type Backoff = "fixed" | "linear" | "exponential" | "exponential_jitter";
/** How a parent must have ended for its dependant to start. */
export type DependencyCondition = "success" | "finished" | "failure";
/** Who acts on `replyTo`: the server delivers, or handler and callback get the value. */
export type ReplyMode = "deliver" | "carry";
/** Body of a notification. */
export type ReplyBody = "result" | "envelope";

/** How often and when a failed attempt is repeated. What is not set comes from the profile. */
export interface RetryPolicy {
  /** Set of values to start from: `default`, `abp` or `none`. @default "default" */
  readonly profile?: string;
  /** Most retries after the first attempt, 0 to 1,000. @default 2 */
  readonly retryLimit?: number;
  /** Most lost attempts (the worker process went away) that are forgiven, 0 to 2. @default 2 */
  readonly crashLimit?: number;
  /** @default "exponential_jitter" */
  readonly backoff?: Backoff;
  /** Wait before the first retry. @default "5s" */
  readonly firstDelay?: Duration;
  /** What an exponential wait is multiplied with, 1 to 100. @default 2 */
  readonly factor?: number;
  /** Longest wait between two attempts. @default "300s" */
  readonly maxDelay?: Duration;
  /** Time after which a failing job is abandoned, counted from its first attempt. @default none */
  readonly giveUpAfter?: Duration;
}

/** A job to wait for: its id, an enqueued job, or by ref id or local key of the same batch. */
export type Dependency =
  | string
  | { readonly id: string; readonly condition?: DependencyCondition }
  | { readonly refId: string; readonly condition?: DependencyCondition }
  | { readonly localKey: string; readonly condition?: DependencyCondition };

/** A command that receives the result after success, as a job of its own. */
export interface Callback {
  readonly command: string;
  /** Arguments for it, over those of the job. @default none */
  readonly args?: Readonly<Record<string, string>>;
}

/** How a job is run. Everything may be left out. */
export interface JobOptions {
  /** Your own unique id of the job, at most 255 characters. @default the server makes one */
  readonly refId?: string;
  /** @default "fail" */
  readonly refIdPolicy?: RefIdPolicy;
  /** Queue it waits in. @default "default" */
  readonly queue?: string;
  /** Named worker: its jobs run one at a time over all worker processes. `""`: none, whatever the command declares. @default that of the command */
  readonly worker?: string;
  /** @default "strict" */
  readonly workerOrder?: WorkerOrder;
  /** @default 15, "normal" */
  readonly priority?: Priority;
  /** Never start before this time. Not together with `delay`. @default at once */
  readonly runAfter?: Date;
  /** Never start before this long after it was stored. @default at once */
  readonly delay?: Duration;
  /** Cancelled when its first attempt has not started by then. @default never */
  readonly expireTime?: Date;
  /** Longest time of one attempt. @default "10m" */
  readonly timeout?: Duration;
  /** @default 2 retries, 5 s doubling with jitter */
  readonly retryPolicy?: RetryPolicy;
  /** Jobs that must end before this one may start, at most 100. @default none */
  readonly dependsOn?: Dependency | readonly Dependency[];
  /** Stop the handler when the lease cannot be renewed in time, so that two attempts never overlap. @default false */
  readonly strict?: boolean;
  /** A command that receives the result after success; a text is its name. @default none */
  readonly callback?: Callback | string;
  /** Where to notify of the outcome: `[METHOD ][credentials@]URL`. @default nowhere */
  readonly replyTo?: string;
  /** @default "deliver" */
  readonly replyMode?: ReplyMode;
  /** @default "result" */
  readonly replyBody?: ReplyBody;
  /** Notify of a success only. @default false */
  readonly replyOnSuccessOnly?: boolean;
  /** Free label to filter by. @default none */
  readonly tag?: string;
  /** Group of jobs to count and watch together. @default none */
  readonly batchId?: string;
  /** Id of the job that this one descends from. @default the first of `dependsOn` */
  readonly parentId?: string;
  /** User on whose behalf it runs. @default none */
  readonly userId?: string;
  /** Claims of that user. @default none */
  readonly userClaims?: Readonly<Record<string, string>>;
  /** Free text that says who or what made the job. @default none */
  readonly createdBy?: string;
  /** Free arguments beside the request, filterable. @default none */
  readonly args?: Readonly<Record<string, string>>;
  /** W3C traceparent. @default that of the client's `traceContext` */
  readonly traceparent?: string;
  /** W3C tracestate. @default that of the client's `traceContext` */
  readonly tracestate?: string;
}

/** The API that a job calls: a target of the server's configuration and a gRPC method or an HTTP endpoint there. */
export type ApiCall =
  | { readonly target: string; readonly grpcMethod: string }
  | { readonly target: string; readonly path: string; readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE" };

const PRIORITY_NAMES = ["", "low", "below_normal", "normal", "above_normal", "high"] as const;
const REF_ID_POLICIES = ["", "fail", "return_existing"] as const;
const WORKER_ORDERS = ["", "strict", "relaxed"] as const;
const BACKOFFS = ["", "fixed", "linear", "exponential", "exponential_jitter"] as const;
const CONDITIONS = ["", "success", "finished", "failure"] as const;
const REPLY_MODES = ["", "deliver", "carry"] as const;
const REPLY_BODIES = ["", "result", "envelope"] as const;

/** Number of an enum value by its name; 0 for undefined. */
export function enumNumber(names: readonly string[], name: string | undefined, field: string): number {
  if (name === undefined) return 0;
  const number = names.indexOf(name);
  if (number > 0) return number;
  throw invalidField(field, `${JSON.stringify(name)} is unknown, give one of ${names.filter(Boolean).join(", ")}`);
}

/** Name of an enum value; undefined for 0 and for values of a newer server. */
export function enumName<Names extends readonly string[]>(
  names: Names,
  number: number,
): Exclude<Names[number], ""> | undefined {
  return (names[number] as Exclude<Names[number], ""> | undefined) || undefined;
}

/** An id as the contract has it. */
export function idNumber(id: string, field: string): bigint {
  if (typeof id === "string" && /^\d{1,19}$/.test(id)) {
    const number = BigInt(id);
    if (number > 0n && number < 1n << 63n) return number;
  }
  throw invalidField(field, `${JSON.stringify(id)} is no job id: ids are positive whole numbers, as text`);
}

/** An id as text; undefined for 0. */
export function idText(id: bigint): string | undefined {
  return id === 0n ? undefined : id.toString();
}

export function timestamp(date: Date | undefined, field: string): Timestamp | undefined {
  if (date === undefined) return undefined;
  if (!(date instanceof Date) || Number.isNaN(date.getTime())) {
    throw invalidField(field, `${String(date)} is no time: give a valid Date`);
  }
  return timestampFromDate(date);
}

export function dateOf(time: Timestamp | undefined): Date | undefined {
  return time && timestampDate(time);
}

/**
 * Options as the contract has them; undefined when none is set. Only what is set is assigned: most jobs set little, and this is
 * the costliest part of an enqueue otherwise.
 */
export function optionsMessage(options: JobOptions, field = "options"): JobOptionsMessage | undefined {
  check.object(options, field);
  const message = create(JobOptionsSchema);
  let isSet = false;
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const assign = ASSIGN[name as keyof JobOptions];
    if (assign === undefined) throw invalidField(`${field}.${name}`, "is no option");
    assign(message, options, `${field}.${name}`);
    isSet = true;
  }
  return isSet ? message : undefined;
}

type Assign = (message: JobOptionsMessage, options: JobOptions, field: string) => void;

const text =
  (
    name: "refId" | "queue" | "replyTo" | "tag" | "batchId" | "userId" | "createdBy" | "traceparent" | "tracestate",
  ): Assign =>
  (message, options, field) => {
    message[name] = check.text(options[name], field);
  };
/** An option that is one of a few names. */
const named =
  (name: "refIdPolicy" | "workerOrder" | "replyMode" | "replyBody", names: readonly string[]): Assign =>
  (message, options, field) => {
    (message[name] as number) = enumNumber(names, options[name], field);
  };
const map =
  (name: "args" | "userClaims"): Assign =>
  (message, options, field) => {
    message[name] = check.texts(options[name], field);
  };
const time =
  (name: "runAfter" | "expireTime"): Assign =>
  (message, options, field) => {
    message[name] = timestamp(options[name], field);
  };
const length =
  (name: "delay" | "timeout"): Assign =>
  (message, options, field) => {
    message[name] = durationMessage(options[name], field);
  };

const ASSIGN: Readonly<Record<keyof JobOptions, Assign>> = {
  refId: text("refId"),
  refIdPolicy: named("refIdPolicy", REF_ID_POLICIES),
  queue: text("queue"),
  worker: (message, { worker }, field) => {
    message.worker = check.text(worker, field);
  },
  workerOrder: named("workerOrder", WORKER_ORDERS),
  priority: (message, { priority }, field) => {
    if (typeof priority === "string") message.priorityName = enumNumber(PRIORITY_NAMES, priority, field);
    else message.priority = check.whole(priority, field);
  },
  runAfter: time("runAfter"),
  delay: length("delay"),
  expireTime: time("expireTime"),
  timeout: length("timeout"),
  retryPolicy: (message, { retryPolicy }, field) => {
    message.retryPolicy = retryPolicy && retryPolicyMessage(retryPolicy, field);
  },
  dependsOn: (message, { dependsOn = [] }, field) => {
    const parents = Array.isArray(dependsOn) ? dependsOn : [dependsOn];
    message.dependsOn = parents.map((parent: Dependency, index) => dependencyMessage(parent, `${field}[${index}]`));
  },
  strict: (message, { strict }, field) => {
    message.strict = check.flag(strict, field);
  },
  callback: (message, { callback }, field) => {
    const { command, args = {} } =
      typeof callback === "string" ? { command: callback } : check.object<Callback>(callback, field);
    checkName(command, `${field}.command`);
    message.callback = create(CallbackSchema, { command, args: check.texts(args, `${field}.args`) });
  },
  replyTo: text("replyTo"),
  replyMode: named("replyMode", REPLY_MODES),
  replyBody: named("replyBody", REPLY_BODIES),
  replyOnSuccessOnly: (message, { replyOnSuccessOnly }, field) => {
    message.replyOnSuccessOnly = check.flag(replyOnSuccessOnly, field);
  },
  tag: text("tag"),
  batchId: text("batchId"),
  parentId: (message, { parentId = "" }, field) => {
    message.parentId = idNumber(parentId, field);
  },
  userId: text("userId"),
  userClaims: map("userClaims"),
  createdBy: text("createdBy"),
  args: map("args"),
  traceparent: text("traceparent"),
  tracestate: text("tracestate"),
};

function retryPolicyMessage(policy: RetryPolicy, field: string): RetryPolicyMessage {
  check.object(policy, field);
  return create(RetryPolicySchema, {
    profile: check.optional(policy.profile, `${field}.profile`, check.text),
    retryLimit: check.optional(policy.retryLimit, `${field}.retryLimit`, check.whole),
    crashLimit: check.optional(policy.crashLimit, `${field}.crashLimit`, check.whole),
    backoff: enumNumber(BACKOFFS, policy.backoff, `${field}.backoff`),
    firstDelay: durationMessage(policy.firstDelay, `${field}.firstDelay`),
    factor: check.optional(policy.factor, `${field}.factor`, check.number),
    maxDelay: durationMessage(policy.maxDelay, `${field}.maxDelay`),
    giveUpAfter: durationMessage(policy.giveUpAfter, `${field}.giveUpAfter`),
  });
}

function dependencyMessage(dependency: Dependency, field: string): DependencyMessage {
  if (typeof dependency === "string") {
    return create(DependencySchema, { parent: { case: "jobId", value: idNumber(dependency, field) } });
  }
  check.object(dependency, field);
  const condition = enumNumber(CONDITIONS, dependency.condition, `${field}.condition`);
  if ("localKey" in dependency) {
    return create(DependencySchema, {
      parent: { case: "localKey", value: check.text(dependency.localKey, `${field}.localKey`) },
      condition,
    });
  }
  if ("id" in dependency) {
    return create(DependencySchema, { parent: { case: "jobId", value: idNumber(dependency.id, field) }, condition });
  }
  return create(DependencySchema, {
    parent: { case: "refId", value: check.text(dependency.refId, `${field}.refId`) },
    condition,
  });
}

/** Options as a job carries them, defaults filled in. */
export function optionsOf(message: JobOptionsMessage | undefined): JobOptions {
  if (message === undefined) return {};
  const { retryPolicy: policy, callback } = message;
  return drop({
    refId: message.refId || undefined,
    refIdPolicy: enumName(REF_ID_POLICIES, message.refIdPolicy),
    queue: message.queue || undefined,
    worker: message.worker,
    workerOrder: enumName(WORKER_ORDERS, message.workerOrder),
    priority: message.priority ?? enumName(PRIORITY_NAMES, message.priorityName),
    runAfter: dateOf(message.runAfter),
    delay: message.delay && msOfDuration(message.delay),
    expireTime: dateOf(message.expireTime),
    timeout: message.timeout && msOfDuration(message.timeout),
    retryPolicy:
      policy &&
      drop({
        profile: policy.profile || undefined,
        retryLimit: policy.retryLimit,
        crashLimit: policy.crashLimit,
        backoff: enumName(BACKOFFS, policy.backoff),
        firstDelay: policy.firstDelay && msOfDuration(policy.firstDelay),
        factor: policy.factor,
        maxDelay: policy.maxDelay && msOfDuration(policy.maxDelay),
        giveUpAfter: policy.giveUpAfter && msOfDuration(policy.giveUpAfter),
      }),
    dependsOn: message.dependsOn.length === 0 ? undefined : message.dependsOn.map(dependencyOf),
    strict: message.strict || undefined,
    callback: callback && { command: callback.command, args: callback.args },
    replyTo: message.replyTo || undefined,
    replyMode: enumName(REPLY_MODES, message.replyMode),
    replyBody: enumName(REPLY_BODIES, message.replyBody),
    replyOnSuccessOnly: message.replyOnSuccessOnly || undefined,
    tag: message.tag || undefined,
    batchId: message.batchId || undefined,
    parentId: idText(message.parentId),
    userId: message.userId || undefined,
    userClaims: nonEmpty(message.userClaims),
    createdBy: message.createdBy || undefined,
    args: nonEmpty(message.args),
    traceparent: message.traceparent || undefined,
    tracestate: message.tracestate || undefined,
  });
}

function dependencyOf({ parent, condition: number }: DependencyMessage): Dependency {
  const condition = enumName(CONDITIONS, number) ?? "success";
  switch (parent.case) {
    case "refId":
      return { refId: parent.value, condition };
    case "localKey":
      return { localKey: parent.value, condition };
    default:
      return { id: String(parent.value ?? 0), condition };
  }
}

/** Without the fields that are undefined. */
export function drop<Value extends object>(value: Value): Value {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as Value;
}

function nonEmpty(map: Record<string, string>): Record<string, string> | undefined {
  return Object.keys(map).length === 0 ? undefined : map;
}

/** An API call as the contract has it. */
export function apiCallMessage(api: ApiCall, field = "api"): ApiCallMessage {
  check.object(api, field);
  checkName(api.target, `${field}.target`);
  if ("grpcMethod" in api) {
    const value = check.text(api.grpcMethod, `${field}.grpcMethod`);
    return create(ApiCallSchema, { target: api.target, endpoint: { case: "grpcMethod", value } });
  }
  const method = check.optional(api.method, `${field}.method`, check.text) ?? "";
  const value = { method, path: check.text(api.path, `${field}.path`) };
  return create(ApiCallSchema, { target: api.target, endpoint: { case: "http", value } });
}

/** An API call as a job carries it. */
export function apiCallOf(message: ApiCallMessage): ApiCall {
  const { target, endpoint } = message;
  if (endpoint.case === "grpcMethod") return { target, grpcMethod: endpoint.value };
  const method = (endpoint.value?.method || "POST") as "POST";
  return { target, path: endpoint.value?.path ?? "", method };
}
