import { invalidField } from "./errors.js";
import type { Job } from "./job.js";
import { jsonSchemaOf, type StandardSchemaV1 } from "./schema.js";

/** Runs a command. Its return value is the job's result: any JSON value, a `Uint8Array`, a `Payload`, or nothing. */
export type Handler<Request = unknown, Result = unknown> = (job: Job, request: Request) => Result | Promise<Result>;

/**
 * What program and worker agree on about a command: its name and the types of its request and result. Share it between the
 * two. `Input` is what a caller gives, `Request` what the handler gets (they differ when the schema has defaults or
 * transforms).
 */
export interface Command<Input = unknown, Request = Input, Result = unknown> {
  /** Name, as it is stored on jobs. */
  readonly name: string;
  /** Named worker in which its jobs run one at a time, unless their options say otherwise. */
  readonly worker?: string | undefined;
  /** The program's own version of the handler, for people. */
  readonly version?: string | undefined;
  /** Schema by which requests are checked, before they are sent and before the handler sees them. */
  readonly request?: StandardSchemaV1<Input, Request> | undefined;
  /** Schema by which results are checked, by whoever waits for them. */
  readonly result?: StandardSchemaV1<unknown, Result> | undefined;
  /** JSON Schema of the request, shown in the admin UI. */
  readonly jsonSchema?: string | undefined;
  /** Adds the handler; give the outcome to a `Worker`. */
  handle(handler: Handler<Request, Result>): ServedCommand<Input, Request, Result>;
}

/** A command with its handler. */
export interface ServedCommand<Input = unknown, Request = Input, Result = unknown>
  extends Command<Input, Request, Result> {
  /** Runs it. A method, so that commands of all types fit into one list. */
  handler(job: Job, request: Request): Result | Promise<Result>;
}

/** What {@link defineCommand} takes. */
export interface CommandDefinition {
  /** Name: 1 to 128 characters of `A-Za-z0-9._:/-`. */
  readonly name: string;
  /** Named worker in which its jobs run one at a time. @default none */
  readonly worker?: string;
  /** The program's own version of the handler. @default none */
  readonly version?: string;
  /** JSON Schema of the request as object or text. @default what the schema library says of `request`, if it can */
  readonly jsonSchema?: object | string;
}

/**
 * Defines a command with schemas of any Standard Schema library, or by types alone.
 *
 * @example
 * ```ts
 * const resize = defineCommand({ name: "resize", request: z.object({ image: z.string(), width: z.int() }), result: z.string() });
 * const ping = defineCommand<{ host: string }, number>({ name: "ping" });
 * ```
 */
export function defineCommand<
  RequestSchema extends StandardSchemaV1,
  ResultSchema extends StandardSchemaV1 | undefined = undefined,
>(
  definition: CommandDefinition & { readonly request: RequestSchema; readonly result?: ResultSchema },
): Command<SchemaInput<RequestSchema>, SchemaOutput<RequestSchema>, SchemaOutput<ResultSchema>>;
export function defineCommand<Request = unknown, Result = unknown>(
  definition: CommandDefinition,
): Command<Request, Request, Result>;
export function defineCommand(
  definition: CommandDefinition & {
    readonly request?: StandardSchemaV1;
    readonly result?: StandardSchemaV1 | undefined;
  },
): Command<unknown, unknown, unknown> {
  const { name, worker, version, jsonSchema } = definition;
  checkName(name, "command");
  if (worker !== undefined && worker !== "") checkName(worker, "worker");
  const command: Command<unknown, unknown, unknown> = {
    name,
    worker,
    version,
    request: definition.request as StandardSchemaV1 | undefined,
    result: definition.result as StandardSchemaV1 | undefined,
    jsonSchema:
      jsonSchema === undefined || typeof jsonSchema === "string"
        ? (jsonSchema ?? jsonSchemaOf(definition.request))
        : JSON.stringify(jsonSchema),
    handle: (handler) => ({ ...command, handler }),
  };
  return command;
}

/** What a schema accepts. */
export type SchemaInput<Schema> = Schema extends StandardSchemaV1
  ? NonNullable<Schema["~standard"]["types"]>["input"]
  : unknown;
/** What a schema gives back. */
export type SchemaOutput<Schema> = Schema extends StandardSchemaV1
  ? NonNullable<Schema["~standard"]["types"]>["output"]
  : unknown;

const NAME = /^[A-Za-z0-9._:/-]{1,128}$/;

/** Throws `INVALID_FIELD` unless `name` is a name as the contract wants it. */
export function checkName(name: unknown, field: string): asserts name is string {
  if (typeof name !== "string" || !NAME.test(name)) {
    throw invalidField(field, `${JSON.stringify(name)} is no name: give 1 to 128 characters of A-Za-z0-9._:/-`);
  }
}
