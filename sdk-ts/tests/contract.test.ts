import {
  create,
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescMethod,
  isFieldSet,
  type Message,
  ScalarType,
} from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { type Client, connect, type Listing, Payload } from "haulier";
import { expect, test } from "vitest";
import { AdminService } from "../src/gen/haulier/v1/admin_service_pb.js";
import { JobState } from "../src/gen/haulier/v1/job_pb.js";
import { JobService } from "../src/gen/haulier/v1/job_service_pb.js";
import { LockService } from "../src/gen/haulier/v1/lock_service_pb.js";
import { QueueService } from "../src/gen/haulier/v1/queue_service_pb.js";
import { RecurringTaskService } from "../src/gen/haulier/v1/recurring_task_service_pb.js";
import { WorkerService } from "../src/gen/haulier/v1/worker_service_pb.js";

// The client against the contract itself, field by field: what the contract has, the client can ask for and gives back.

const SERVICES = [JobService, RecurringTaskService, QueueService, LockService, WorkerService, AdminService];
/** What only a worker speaks. */
const OF_WORKERS = ["RegisterWorker", "ClaimJob", "ReportJobs", "UnregisterWorker"];
const METHODS: readonly DescMethod[] = SERVICES.flatMap((service) => service.methods).filter(
  ({ name }) => !OF_WORKERS.includes(name),
);

const time = new Date("2026-12-01T10:00:00Z");
const filter = {
  states: ["queued"],
  command: "c",
  api: "a",
  queue: "q",
  worker: "w",
  priority: 7,
  tag: "t",
  batchId: "b",
  parentId: "5",
  createdBy: "me",
  userId: "u",
  args: { k: "v" },
  replyTo: "r",
  recurringTask: "r",
  refIdPrefix: "p",
  createTimeFrom: time,
  createTimeTo: time,
  errorCode: "e",
  text: "x",
} as const;
const options = {
  refId: "r",
  refIdPolicy: "return_existing",
  queue: "q",
  worker: "w",
  workerOrder: "relaxed",
  runAfter: time,
  delay: 5,
  expireTime: time,
  timeout: 5,
  retryPolicy: {
    profile: "abp",
    retryLimit: 1,
    crashLimit: 1,
    backoff: "linear",
    firstDelay: 1,
    factor: 3,
    maxDelay: 9,
    giveUpAfter: 1,
  },
  dependsOn: [{ id: "7", condition: "finished" }, { refId: "x" }, { localKey: "k" }],
  strict: true,
  callback: { command: "c", args: { a: "b" } },
  replyTo: "PUT https://example.org/x",
  replyMode: "carry",
  replyBody: "envelope",
  replyOnSuccessOnly: true,
  tag: "t",
  batchId: "b",
  parentId: "9",
  userId: "u",
  userClaims: { role: "admin" },
  createdBy: "me",
  args: { k: "v" },
  traceparent: "00-1",
  tracestate: "s",
} as const;
const task = {
  name: "n",
  command: "c",
  request: 1,
  options: { tag: "t" },
  schedule: { cron: "@hourly", timeZone: "Europe/Vienna", seed: "s" },
  runCommand: true,
  overlapPolicy: "skip",
  catchUpPolicy: "all",
  catchUpWindow: "1h",
  startTime: time,
  endTime: time,
  enabled: true,
  description: "d",
} as const;
const page = { pageSize: 5, pageToken: "t" };
const first = (listing: Listing<unknown>) => listing.page(page);
const event = async (stream: AsyncIterableIterator<unknown>) => {
  const { value } = await stream.next();
  await stream.return?.();
  return value;
};

/** Every call of the client, with all that can be set. */
const CALLS: Readonly<Record<string, (client: Client) => Promise<unknown>>> = {
  enqueue: (client) => client.enqueue("c", 1, { ...options, priority: "low" }, { requestId: "i" }),
  "enqueue bytes": (client) => client.enqueue("c", Payload.bytes(new Uint8Array([1]), "image/png"), { priority: 3 }),
  enqueueApi: (client) => client.enqueueApi({ target: "t", grpcMethod: "m" }, 1, { tag: "t" }, { requestId: "i" }),
  "enqueueApi of HTTP": (client) => client.enqueueApi({ target: "t", path: "/p", method: "PUT" }),
  enqueueBatch: (client) =>
    client.enqueueBatch(
      [
        { command: "c", request: 1, localKey: "k", options: { tag: "t" } },
        { api: { target: "t", path: "/p" }, request: 1, options: { tag: "t" } },
      ],
      { batchId: "b", requestId: "i" },
    ),
  runCommand: (client) => client.runCommand("c", 1, { tag: "t", wait: 5 }),
  startCommand: (client) => client.startCommand("c", 1),
  get: (client) => client.get("7", { run: 2, includeParent: true }),
  "get by ref id": (client) => client.get({ refId: "r" }, { run: 2, includeParent: true }),
  listJobs: (client) => first(client.listJobs(filter, { order: "oldest_first", month: "2026-11" })),
  watch: (client) => event(client.watch("7", { until: "notified", includeLogs: false, resumeToken: "t" })),
  "watch by ref id": (client) => event(client.watch({ refId: "r" })),
  watchJobs: (client) => event(client.watchJobs(filter, { resumeToken: "t" })),
  cancel: (client) => client.cancel("7", { reason: "r", grace: 5 }),
  "cancel by ref id": (client) => client.cancel({ refId: "r" }),
  cancelJobs: (client) => client.cancelJobs(filter, { reason: "r", grace: 5, validateOnly: true }),
  requeue: (client) => client.requeue("7", { run: 2, includeDependants: true, requestId: "i" }),
  requeueJobs: (client) =>
    client.requeueJobs(filter, { includeDependants: true, validateOnly: true, month: "2026-11" }),
  listAttempts: (client) => first(client.listAttempts("7", { run: 2 })),
  listLogs: (client) => first(client.listLogs("7", { run: 2, epoch: 3, fromSequence: 4, minLevel: "warn" })),
  getBatch: (client) => client.getBatch("b"),
  listDeliveries: (client) => first(client.listDeliveries({ jobId: "7", states: ["pending"] })),
  replayDelivery: (client) => client.replayDelivery("7"),
  explain: (client) => client.explain("7"),
  "explain by ref id": (client) => client.explain({ refId: "r" }),
  putRecurringTask: (client) => client.putRecurringTask(task),
  "putRecurringTask of an API": (client) =>
    client.putRecurringTask({ api: { target: "t", path: "/p" }, schedule: { interval: "1m" } }),
  getRecurringTask: (client) => client.getRecurringTask("n"),
  listRecurringTasks: (client) =>
    first(client.listRecurringTasks({ namePrefix: "n", command: "c", paused: false, enabled: false })),
  deleteRecurringTask: (client) => client.deleteRecurringTask("n"),
  pauseRecurringTask: (client) => client.pauseRecurringTask("n", { reason: "r" }),
  resumeRecurringTask: (client) => client.resumeRecurringTask("n"),
  triggerRecurringTask: (client) => client.triggerRecurringTask("n", { requestId: "i" }),
  previewSchedule: (client) => client.previewSchedule(task.schedule, { count: 3, afterTime: time, endTime: time }),
  getQueue: (client) => client.getQueue("q"),
  listQueues: (client) => first(client.listQueues()),
  pauseQueue: (client) => client.pauseQueue("q", { reason: "r" }),
  resumeQueue: (client) => client.resumeQueue("q"),
  updateQueue: (client) => client.updateQueue("q", { concurrencyLimit: 3, rateLimit: { count: 1, period: "1m" } }),
  lock: async (client) => {
    const lock = await client.lock("n", { owner: "o", ownerId: "i", leaseTime: 5_000, wait: 1 });
    return lock?.detach();
  },
  renewLock: (client) => client.renewLock({ name: "n", ownerId: "i", fencingToken: 7 }, "10s"),
  releaseLock: (client) => client.releaseLock({ name: "n", ownerId: "i", fencingToken: 7 }),
  listLocks: (client) => first(client.listLocks({ namePrefix: "n" })),
  breakLock: (client) => client.breakLock("n", { fencingToken: 7, reason: "r" }),
  listWorkers: (client) => first(client.listWorkers({ command: "c", queue: "q" })),
  drainWorker: (client) => client.drainWorker({ name: "n" }, { reason: "r", grace: 5 }),
  "drainWorker by instance": (client) => client.drainWorker({ instanceId: "i" }),
  getOverview: (client) => client.getOverview({ hours: 3 }),
  listCommands: (client) => first(client.listCommands({ namePrefix: "n" })),
  listServers: (client) => first(client.listServers()),
  listHistoryMonths: (client) => first(client.listHistoryMonths()),
  exportHistoryMonth: (client) =>
    event(client.exportHistoryMonth("2026-11", { includeAttempts: false, includeLogs: false, resumeToken: "t" })),
  dropHistoryMonth: (client) => client.dropHistoryMonth("2026-11", { validateOnly: true }),
};

/** Fields that callers need not set: the server alone does. */
const NOT_SET: Readonly<Record<string, RegExp>> = {
  "haulier.v1.RecurringTask":
    /^(id|paused|pause_reason|(create|update|next|last|last_skip)_time|last_.*|(run|skip)_count|upcoming_times)$/,
  "haulier.v1.Payload": /^value$/, // for people who call by hand
  "haulier.v1.Queue": /^(paused|pause_reason|pause_time|counts|oldest_ready_time|worker_count)$/,
};

/** Fields of answers that are not given back. */
const UNREAD = [
  "haulier.v1.Payload.value", // the server answers JSON
  "haulier.v1.JobOptions.priority_name", // the server answers the number
  "haulier.v1.FailedJob.cancel_reason", // stands in the summary
  "haulier.v1.FailedJob.cancel_message",
  "haulier.v1.AcquireLockResponse.lease_time", // kept by the lock: see lock.test.ts
  "haulier.v1.AcquireLockResponse.lock", // no lock is undefined; listLocks tells who has it
];

test("every method of the contract has a call", async () => {
  const called = new Set<string>();
  await callAll((method) => {
    called.add(method.name);
    return fill(method.output, 0);
  });
  expect([...called].sort()).toEqual(METHODS.map(({ name }) => name).sort());
});

test("every call has the name of its method", async () => {
  for (const [text, call] of Object.entries(CALLS)) {
    const called: string[] = [];
    const answer: Answer = (method) => {
      called.push(callOf(method.name));
      return fill(method.output, 0);
    };
    await call(clientOf(answer)).catch(() => {});
    const name = text.split(" ")[0];
    // A run that nobody waits for.
    expect(called[0]).toBe(name === "startCommand" ? "runCommand" : name);
  }
});

/** The call that makes a method of the contract: what is done to one job does not say so. */
function callOf(method: string): string {
  if (method === "EnqueueCommand") return "enqueue";
  if (method === "GetJobByRefId") return "get";
  if (method === "AcquireLock") return "lock"; // gives a lock that renews itself
  const name = method.replace(/Job(?!s)/, "");
  return name.charAt(0).toLowerCase() + name.slice(1);
}

test("every field of every request can be set", async () => {
  const set = new Set<string>();
  await callAll((method, input) => {
    collectSet(method.input, input, set);
    return fill(method.output, 0);
  });
  const settable = fieldsOf(
    METHODS.map(({ input }) => input),
    (field) => NOT_SET[field.parent.typeName]?.test(field.name) !== true,
  );
  const missing = [...settable].filter((name) => !set.has(name));
  expect(missing).toEqual([]);
});

test("every field and every enum value of every answer is given back", { timeout: 60_000 }, async () => {
  const fields = new Map<string, boolean>();
  const enums = new Map<string, boolean>();
  const tried = new Set<DescMessage>();
  const note = (known: Map<string, boolean>, name: string, isRead: boolean) =>
    known.set(name, isRead || (known.get(name) ?? false));
  for (const [name, call] of Object.entries(CALLS)) {
    let output: DescMessage | undefined;
    const answered = async (answer: Message | undefined): Promise<string> => {
      const client = clientOf((method) => {
        output = method.output;
        return answer ?? fill(method.output, 0);
      });
      return text(await call(client).catch((error: unknown) => error));
    };
    await answered(undefined);
    if (output === undefined) throw new Error("nothing was called");
    if (name.includes(" ") && tried.has(output)) continue; // the same call in another way
    tried.add(output);
    for (const base of bases(output)) {
      const before = await answered(base);
      for (const { name, made } of without(output, base)) note(fields, name, (await answered(made)) !== before);
      for (const { name, made } of withEach(output, base)) {
        const seen = new Set<string>();
        for (const message of made) seen.add(await answered(message));
        note(enums, name, seen.size === made.length);
      }
    }
  }
  const missed = (known: Map<string, boolean>) =>
    [...known].filter(([name, isRead]) => !isRead && !UNREAD.includes(name)).map(([name]) => name);
  expect({ fields: missed(fields), enums: missed(enums) }).toEqual({ fields: [], enums: [] });
  const all = fieldsOf(METHODS.map(({ output }) => output));
  expect([...fields.keys()].sort()).toEqual([...all].sort());
});

type Answer = (method: DescMethod, input: Message) => Message;

async function callAll(answer: Answer): Promise<void> {
  for (const call of Object.values(CALLS)) await call(clientOf(answer)).catch(() => {});
}

/** A client whose calls are answered here. */
function clientOf(answer: Answer): Client {
  const shell = (method: DescMethod) => ({
    service: method.parent,
    method,
    header: new Headers(),
    trailer: new Headers(),
  });
  let streams = 0;
  const transport = {
    unary: async (method: DescMethod, ...[, , , input]: [unknown, unknown, unknown, Record<string, unknown>]) => ({
      ...shell(method),
      stream: false,
      message: answer(method, create(method.input, input)),
    }),
    stream: async (
      method: DescMethod,
      ...[, , , input]: [unknown, unknown, unknown, AsyncIterable<Record<string, unknown>>]
    ) => {
      // A stream that gave nothing to give back is asked for again.
      if (streams++ > 0) throw new ConnectError("there is nothing more", Code.Internal);
      const messages: Message[] = [];
      for await (const message of input) messages.push(answer(method, create(method.input, message)));
      return { ...shell(method), stream: true, message: each(messages) };
    },
  };
  return connect({ transport: transport as unknown as Transport, retryTime: 0 });
}

async function* each<Item>(items: readonly Item[]): AsyncGenerator<Item> {
  yield* items;
}

/** What a caller got, as text. */
function text(got: unknown): string {
  const plain = got instanceof Error ? { ...got, name: got.name, message: got.message } : got;
  return JSON.stringify(plain, (_, value: unknown) => (typeof value === "bigint" ? `${value}n` : value)) ?? "undefined";
}

/** A message with every field set, in the way of this number: which member of each oneof, which value of each enum. */
function fill(desc: DescMessage, choice: number): Message {
  const message = create(desc) as Message & Record<string, unknown>;
  if (desc === ValueSchema) return message; // it holds others of its kind
  for (const field of desc.fields) {
    const { oneof } = field;
    if (oneof === undefined) message[field.localName] = filled(field, choice);
    else if (oneof.fields[choice % oneof.fields.length] === field) {
      const value = filled(field, Math.floor(choice / oneof.fields.length));
      message[oneof.localName] = { case: field.localName, value };
    }
  }
  return message;
}

function filled(field: DescField, choice: number): unknown {
  switch (field.fieldKind) {
    case "message":
      return fill(field.message, choice);
    case "enum":
      return enumValue(field.enum, choice);
    case "list":
      if (field.listKind === "message") return [fill(field.message, choice)];
      return [field.listKind === "enum" ? enumValue(field.enum, choice) : scalar(field, field.scalar, choice)];
    case "map":
      if (field.mapKind !== "scalar") throw new Error(`${field} is a map of messages: the contract has none`);
      return { key: scalar(field, field.scalar, choice) };
    default:
      return scalar(field, field.scalar, choice);
  }
}

/** How many ways there are to fill a message, so that each member of each oneof is in one of them. */
function ways(desc: DescMessage): number {
  const all = desc.fields.map((field) => {
    const below = field.message === undefined || isKnown(field.message) ? 1 : ways(field.message);
    return below * (field.oneof?.fields.length ?? 1);
  });
  return Math.max(2, ...all);
}

function enumValue(desc: DescEnum, choice: number): number {
  return desc.values[1 + (choice % (desc.values.length - 1))]?.number ?? 0;
}

function scalar(field: DescField, type: ScalarType, choice: number): unknown {
  if (type === ScalarType.STRING) return field.localName === "json" ? '"json"' : `${field.name} text`;
  if (type === ScalarType.BYTES) return new Uint8Array([field.number]);
  if (type === ScalarType.BOOL) return choice % 2 === 0;
  if (type === ScalarType.DOUBLE || type === ScalarType.FLOAT) return 0.5;
  return type === ScalarType.INT64 ? BigInt(field.number + 100) : field.number + 100;
}

/** Answers to begin with: filled in all ways, and of a run with outcomes that are told in different ways. */
function bases(desc: DescMessage): Message[] {
  const found = Array.from({ length: ways(desc) }, (_, choice) => fill(desc, choice));
  if (desc.name !== "RunCommandResponse") return found;
  const states = [JobState.COMPLETED, JobState.FAILED, JobState.RUNNING];
  return found.flatMap((base) => states.map((state) => ({ ...base, state })));
}

/** Copies of a message, each without one of the fields that are set in it, at any depth. */
function without(desc: DescMessage, message: Message): { name: string; made: Message }[] {
  return inner(desc, message, (field, holder) => {
    const copy: Message & Record<string, unknown> = { ...holder };
    if (field.oneof) copy[field.oneof.localName] = { case: undefined };
    else copy[field.localName] = (create(field.parent) as Message & Record<string, unknown>)[field.localName];
    return copy;
  });
}

/** Copies of a message for each enum field that is set in it: one for every value. */
function withEach(desc: DescMessage, message: Message): { name: string; made: Message[] }[] {
  const enumOf = (field: DescField): DescEnum | undefined => (field.fieldKind === "enum" ? field.enum : undefined);
  const most = 32;
  const found = new Map<string, Message[]>();
  for (let index = 1; index < most; index++) {
    const copies = inner(desc, message, (field, holder) => {
      const value = enumOf(field)?.values[index];
      return value && { ...holder, [field.localName]: value.number };
    });
    for (const { name, made } of copies) found.set(name, [...(found.get(name) ?? []), made]);
  }
  return [...found].map(([name, made]) => ({ name, made }));
}

/** Changes a message at each field that is set in it, at any depth. */
function inner(
  desc: DescMessage,
  message: Message,
  change: (field: DescField, holder: Message) => Message | undefined,
): { name: string; made: Message }[] {
  return desc.fields.flatMap((field) => {
    if (!isFieldSet(message, field)) return [];
    const changed = change(field, message);
    const here = changed === undefined ? [] : [{ name: `${desc.typeName}.${field.name}`, made: changed }];
    if (field.message === undefined || isKnown(field.message)) return here;
    const holder = message as Message & Record<string, unknown>;
    const value = field.oneof
      ? (holder[field.oneof.localName] as { value: Message }).value
      : (holder[field.localName] as Message);
    const isList = field.fieldKind === "list";
    const below = inner(field.message, isList ? ((value as unknown as Message[])[0] as Message) : value, change);
    return [
      ...here,
      ...below.map(({ name, made }) => {
        const put = isList ? [made] : made;
        const key = field.oneof?.localName ?? field.localName;
        return { name, made: { ...message, [key]: field.oneof ? { case: field.localName, value: put } : put } };
      }),
    ];
  });
}

/** Messages that are values: times and durations. */
function isKnown(desc: DescMessage): boolean {
  return desc.typeName.startsWith("google.protobuf.");
}

/** Names of all fields of messages and of what is in them, as far as they count. */
function fieldsOf(
  descs: readonly DescMessage[],
  counts: (field: DescField) => boolean = () => true,
  found = new Set<string>(),
): Set<string> {
  for (const field of descs.filter((desc) => !isKnown(desc)).flatMap((desc) => desc.fields)) {
    const name = `${field.parent.typeName}.${field.name}`;
    if (found.has(name) || !counts(field)) continue;
    found.add(name);
    if (field.message !== undefined) fieldsOf([field.message], counts, found);
  }
  return found;
}

function collectSet(desc: DescMessage, message: Message, set: Set<string>): void {
  for (const field of desc.fields) {
    const name = `${desc.typeName}.${field.name}`;
    if (!isFieldSet(message, field)) continue;
    set.add(name);
    if (field.message === undefined || isKnown(field.message)) continue;
    const holder = message as Message & Record<string, unknown>;
    const value = field.oneof ? (holder[field.oneof.localName] as { value: unknown }).value : holder[field.localName];
    for (const one of Array.isArray(value) ? value : [value]) collectSet(field.message, one as Message, set);
  }
}
