/**
 * Haulier's TypeScript SDK for Node: enqueue durable background jobs, follow them live, and serve them as a worker.
 *
 * @packageDocumentation
 */
export { Job } from "./job.js";
export { type JobLog, type LogFields, type Logger, silentLogger, stderrLogger } from "./log.js";
export { connect, createTransport, type NodeConnectOptions } from "./node.js";
export { type BackgroundOptions, type PeriodicOptions, PeriodicWorker, type RunContext } from "./periodic.js";
export * from "./shared.js";
export { Worker, type WorkerOptions } from "./worker.js";
