// The loops that speed.ts measures, each in a process of its own: `loops.ts KIND TRANSPORT COUNT QUEUE`. Prints its figures as JSON.
// `bare` is what one would write by hand on that transport: generated messages, no options, no errors, no reconnecting.
import { randomUUID } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createClient, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { credentials, Client as GrpcClient } from "@grpc/grpc-js";
import { connect, silentLogger, Worker } from "haulier";
import { createTransport } from "haulier/grpc-js";
import {
  type EnqueueCommandRequest,
  EnqueueCommandRequestSchema,
  type EnqueueCommandResponse,
  EnqueueCommandResponseSchema,
  JobService,
} from "../src/gen/haulier/v1/job_service_pb.js";
import {
  ClaimJobRequestSchema,
  type ClaimJobResponse,
  ClaimJobResponseSchema,
  RegisterWorkerRequestSchema,
  type RegisterWorkerResponse,
  RegisterWorkerResponseSchema,
  type ReportJobsRequest,
  ReportJobsRequestSchema,
  type ReportJobsResponse,
  ReportJobsResponseSchema,
  WorkerService,
} from "../src/gen/haulier/v1/worker_service_pb.js";

const [kind = "", transportName = "", countText = "0", queue = ""] = process.argv.slice(2);
const count = Number(countText);
const address = process.env.HAULIER_ADDRESS ?? "";
const baseUrl = `http://${address}`;
const CALLS_AT_ONCE = 32;
const SLOTS = 100;
/** Calls or jobs before the measured ones: the connection is made, and code is compiled. */
const WARM_UP = 1_000;

function transport(): Transport {
  if (transportName === "grpc-js") return createTransport({ address });
  return createGrpcTransport({ baseUrl, acceptCompression: [] });
}

type Enqueue = (index: number) => Promise<unknown>;

function bareConnectEnqueue(): Enqueue {
  const jobs = createClient(JobService, createGrpcTransport({ baseUrl, acceptCompression: [] }));
  return (index) => jobs.enqueueCommand(enqueueRequest(index));
}

function bareGrpcJsEnqueue(): Enqueue {
  const client = new GrpcClient(address, credentials.createInsecure());
  const write = (message: EnqueueCommandRequest) => Buffer.from(toBinary(EnqueueCommandRequestSchema, message));
  const read = (bytes: Buffer) => fromBinary(EnqueueCommandResponseSchema, bytes);
  return (index) =>
    new Promise<EnqueueCommandResponse>((resolve, reject) => {
      const message = create(EnqueueCommandRequestSchema, enqueueRequest(index));
      client.makeUnaryRequest("/haulier.v1.JobService/EnqueueCommand", write, read, message, (error, answer) =>
        error || answer === undefined ? reject(error) : resolve(answer),
      );
    });
}

function enqueueRequest(index: number) {
  const request = { kind: { case: "json" as const, value: JSON.stringify({ index }) } };
  return { command: "noop", request, options: { queue }, requestId: randomUUID() };
}

async function enqueueAll(enqueue: Enqueue): Promise<void> {
  let next = 0;
  const caller = async () => {
    while (next < count + WARM_UP) {
      if (next === WARM_UP) begin();
      await enqueue(next++);
    }
  };
  await Promise.all(Array.from({ length: CALLS_AT_ONCE }, caller));
}

/** The calls of a worker on a bare transport. */
interface WorkerCalls {
  register(request: object): Promise<RegisterWorkerResponse>;
  claim(request: object): Promise<ClaimJobResponse>;
  report(take: (response: ReportJobsResponse) => void): { send(message: ReportJobsRequest): void; end(): void };
}

function connectCalls(): WorkerCalls {
  const rpc = createClient(WorkerService, createGrpcTransport({ baseUrl, acceptCompression: [] }));
  return {
    register: (request) => rpc.registerWorker(request),
    claim: (request) => rpc.claimJob(request),
    report: (take) => {
      const waiting: ReportJobsRequest[] = [];
      let wake = () => {};
      let ended = false;
      async function* messages() {
        while (!ended) {
          const message = waiting.shift();
          if (message !== undefined) yield message;
          else await new Promise<void>((resolve) => (wake = resolve));
        }
      }
      void (async () => {
        for await (const response of rpc.reportJobs(messages())) take(response);
      })();
      return {
        send: (message) => {
          waiting.push(message);
          wake();
        },
        end: () => {
          ended = true;
          wake();
        },
      };
    },
  };
}

function grpcJsCalls(): WorkerCalls {
  const client = new GrpcClient(address, credentials.createInsecure());
  const path = (method: string) => `/haulier.v1.WorkerService/${method}`;
  return {
    register: (request) =>
      new Promise((resolve, reject) =>
        client.makeUnaryRequest(
          path("RegisterWorker"),
          (message: object) =>
            Buffer.from(toBinary(RegisterWorkerRequestSchema, create(RegisterWorkerRequestSchema, message))),
          (bytes) => fromBinary(RegisterWorkerResponseSchema, bytes),
          request,
          (error, answer) => (error || answer === undefined ? reject(error) : resolve(answer)),
        ),
      ),
    claim: (request) =>
      new Promise((resolve, reject) =>
        client.makeUnaryRequest(
          path("ClaimJob"),
          (message: object) => Buffer.from(toBinary(ClaimJobRequestSchema, create(ClaimJobRequestSchema, message))),
          (bytes) => fromBinary(ClaimJobResponseSchema, bytes),
          request,
          (error, answer) => (error || answer === undefined ? reject(error) : resolve(answer)),
        ),
      ),
    report: (take) => {
      const call = client.makeBidiStreamRequest(
        path("ReportJobs"),
        (message: ReportJobsRequest) => Buffer.from(toBinary(ReportJobsRequestSchema, message)),
        (bytes) => fromBinary(ReportJobsResponseSchema, bytes),
      );
      call.on("data", take);
      call.on("error", () => {});
      return { send: (message) => void call.write(message), end: () => call.cancel() };
    },
  };
}

async function bareWork(calls: WorkerCalls): Promise<void> {
  const { sessionId } = await calls.register({
    name: "bench",
    instanceId: randomUUID(),
    commands: [{ command: "noop" }],
    queues: [queue],
    slots: SLOTS,
  });
  const held = new Set<string>();
  let stored = 0;
  let changed = () => {};
  let beat = 0n;
  let sequence = 0n;
  const stream = calls.report((response) => {
    for (const ack of response.acks) {
      if (ack.outcomeStored && held.delete(ack.lease) && ++stored === WARM_UP) begin();
    }
    changed();
  });
  const loops = () => [{ loop: 0, received: sequence, sent: sequence, sentOpen: false }];
  stream.send(create(ReportJobsRequestSchema, { sessionId, heartbeat: { beat: ++beat } }));
  const beating = setInterval(() => {
    const heartbeat = { beat: ++beat, loops: loops(), leases: [...held] };
    stream.send(create(ReportJobsRequestSchema, { heartbeat }));
  }, 10_000);
  let acknowledged = 0n;
  while (stored < count + WARM_UP) {
    if (held.size >= SLOTS || stored + held.size >= count + WARM_UP) {
      await new Promise<void>((resolve) => (changed = resolve));
      continue;
    }
    const { jobs } = await calls.claim({
      sessionId,
      sequence: sequence + 1n,
      ackSequence: acknowledged,
      maxJobs: SLOTS - held.size,
      wait: { seconds: 1n, nanos: 0 },
    });
    sequence += 1n;
    if (jobs.length === 0) continue;
    acknowledged = sequence;
    for (const job of jobs) held.add(job.lease);
    const outcomes = jobs.map((job) => {
      JSON.parse(job.request?.kind.case === "json" ? job.request.kind.value : "null");
      return { lease: job.lease, outcome: { case: "complete" as const, value: {} } };
    });
    stream.send(create(ReportJobsRequestSchema, { received: [{ loop: 0, sequence }], outcomes }));
  }
  clearInterval(beating);
  stream.end();
}

async function sdkWork(): Promise<void> {
  const worker = new Worker({
    transport: transport(),
    queues: [queue],
    slots: SLOTS,
    logger: silentLogger,
    handleSignals: false,
  });
  let done = 0;
  await new Promise<void>((resolve) => {
    worker.handle("noop", () => {
      if (++done === WARM_UP) begin();
      if (done === count + WARM_UP) resolve();
    });
    void worker.run();
  });
  await worker.stop(); // waits until all outcomes are acknowledged
}

let cpu = process.cpuUsage();
let beganAt = 0;

function begin(): void {
  cpu = process.cpuUsage();
  beganAt = performance.now();
}

async function measured(loop: Promise<void>): Promise<void> {
  await loop;
  const seconds = (performance.now() - beganAt) / 1_000;
  const { user, system } = process.cpuUsage(cpu);
  console.log(JSON.stringify({ perSecond: count / seconds, cpuMicros: (user + system) / count }));
  process.exit(0);
}

switch (kind) {
  case "enqueue-bare":
    await measured(enqueueAll(transportName === "grpc-js" ? bareGrpcJsEnqueue() : bareConnectEnqueue()));
    break;
  case "enqueue-sdk": {
    const client = connect({ transport: transport() });
    await measured(enqueueAll((index) => client.enqueue("noop", { index }, { queue })));
    break;
  }
  case "work-bare":
    await measured(bareWork(transportName === "grpc-js" ? grpcJsCalls() : connectCalls()));
    break;
  case "work-sdk":
    await measured(sdkWork());
    break;
  default:
    throw new Error(`no loop is called ${kind}`);
}
