import { create, toBinary } from "@bufbuild/protobuf";
import { durationOfMs } from "./duration.js";
import { type LogEntry, LogEntrySchema, type LogReport, LogReportSchema } from "./gen/haulier/v1/report_pb.js";
import {
  LOG_BUFFER_BYTES_MAX,
  LOG_BUFFER_LINES_MAX,
  LOG_FIELDS_MAX,
  LOG_LINE_BYTES_MAX,
  LOG_REPORT_BYTES_MAX,
  REPORT_PARTS_MAX,
} from "./limits.js";
import { LOG_LEVELS, type LogLevel } from "./record.js";

/** Structured fields of a log line; values that are no text are written as JSON. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Logs of a job: stored with it and streamed to its watchers. */
export interface JobLog {
  trace(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** A log line before it has its number. */
export interface LogRecord {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** A log that gives its lines to `write`. */
export function jobLog(write: (record: LogRecord) => void): JobLog {
  const at = (level: LogLevel) => (message: string, fields?: LogFields) => write(logRecord(level, message, fields));
  return { trace: at("trace"), debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** Where the SDK itself logs: what it met, never payloads. `console` fits. */
export interface Logger {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** Writes to stderr, from `info` up. */
export const stderrLogger: Logger = {
  debug: () => {},
  info: (message) => console.error(`haulier: ${message}`),
  warn: (message) => console.error(`haulier: warning: ${message}`),
  error: (message) => console.error(`haulier: error: ${message}`),
};

/** Writes nothing. */
export const silentLogger: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

function logRecord(level: LogLevel, message: string, fields: LogFields = {}): LogRecord {
  const texts: Record<string, string> = {};
  let room = LOG_LINE_BYTES_MAX;
  for (const [key, value] of Object.entries(fields).slice(0, LOG_FIELDS_MAX)) {
    const text = cutText(textOf(value), LOG_LINE_BYTES_MAX / 4);
    const bytes = Buffer.byteLength(key) + Buffer.byteLength(text);
    if (bytes > room / 2) continue; // the message keeps at least half of the line
    texts[key] = text;
    room -= bytes;
  }
  return { level, message: cutText(String(message), room), fields: texts };
}

function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (value instanceof Error) return value.stack ?? String(value);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value); // circular, or a bigint
  }
}

/** The longest beginning of a text that fits into so many bytes; what was cut is marked. */
export function cutText(text: string, bytesMax: number): string {
  if (text.length * 3 <= bytesMax || Buffer.byteLength(text) <= bytesMax) return text;
  const bytes = Buffer.from(text).subarray(0, bytesMax - 3);
  return `${new TextDecoder().decode(bytes, { stream: true })}…`;
}

interface Line extends LogRecord {
  readonly at: number;
  readonly bytes: number;
}

/**
 * The log lines of one lease from when they are written until they are acknowledged. Lines have numbers without gaps, from
 * `sequence` of the lease on; what a broken stream may have lost is sent again.
 */
export class LogBuffer {
  #lines: Line[] = [];
  #bytes = 0;
  /** Sequence of the line before the first in the buffer: all up to it are stored. */
  #stored: number;
  /** How many lines in the buffer have been sent. */
  #sent = 0;
  #dropped = 0;

  constructor(sequence: number) {
    this.#stored = sequence;
  }

  /** Sequence of the last line written. */
  get last(): number {
    return this.#stored + this.#lines.length;
  }

  /** Whether every line has been sent. */
  get isSent(): boolean {
    return this.#sent === this.#lines.length;
  }

  /** Adds a line; when too many wait already it is dropped, and a later line says how many were. */
  add(record: LogRecord): void {
    const bytes = Buffer.byteLength(record.message) + fieldsBytes(record.fields) + 48;
    if (this.#lines.length >= LOG_BUFFER_LINES_MAX || this.#bytes + bytes > LOG_BUFFER_BYTES_MAX) {
      this.#dropped++;
      return;
    }
    if (this.#dropped > 0) {
      const message = `${this.#dropped} log lines were dropped: more were written than could be sent`;
      this.#dropped = 0;
      this.add({ level: "warn", message, fields: {} });
    }
    this.#lines.push({ ...record, at: performance.now(), bytes });
    this.#bytes += bytes;
  }

  /** The next lines to send within a credit, with what they cost of it. `force`: at least one, whatever it costs. */
  take(lease: string, creditBytes: number, force: boolean): { report: LogReport; cost: number } | undefined {
    const most = Math.min(creditBytes - lease.length - 32, LOG_REPORT_BYTES_MAX);
    const now = performance.now();
    const lines: LogEntry[] = [];
    let bytes = 0;
    for (let index = this.#sent; index < this.#lines.length && lines.length < REPORT_PARTS_MAX; index++) {
      const line = this.#lines[index];
      if (line === undefined) break;
      bytes += line.bytes;
      if (bytes > most && !(force && lines.length === 0)) break;
      lines.push(logEntry(line, now));
    }
    if (lines.length === 0) return undefined;
    const report = create(LogReportSchema, { lease, fromSequence: BigInt(this.#stored + this.#sent), lines });
    this.#sent += lines.length;
    return { report, cost: toBinary(LogReportSchema, report).length };
  }

  /** Lines up to this sequence are stored. */
  acknowledge(sequence: number): void {
    const count = Math.min(sequence - this.#stored, this.#lines.length);
    if (count <= 0) return;
    for (const line of this.#lines.splice(0, count)) this.#bytes -= line.bytes;
    this.#stored += count;
    this.#sent = Math.max(0, this.#sent - count);
  }

  /** What was sent and not acknowledged is to be sent again. */
  rewind(): void {
    this.#sent = 0;
  }

  /** The lines that wait were refused: forget them, and say so. */
  discard(why: string): void {
    const count = this.#lines.length;
    this.#lines = [];
    this.#bytes = 0;
    this.#sent = 0;
    this.add({ level: "warn", message: cutText(`${count} log lines were refused: ${why}`, 1024), fields: {} });
  }
}

function logEntry(line: Line, now: number): LogEntry {
  const ago = now - line.at;
  return create(LogEntrySchema, {
    timeAgo: ago >= 1 ? durationOfMs(ago) : undefined,
    level: LOG_LEVELS.indexOf(line.level),
    message: line.message,
    fields: line.fields,
  });
}

function fieldsBytes(fields: Readonly<Record<string, string>>): number {
  let bytes = 0;
  for (const [key, value] of Object.entries(fields)) bytes += Buffer.byteLength(key) + Buffer.byteLength(value) + 16;
  return bytes;
}
