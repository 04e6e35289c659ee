import { type DescMessage, type MessageShape, toJsonString } from "@bufbuild/protobuf";
import { errorOfCode, type HaulierError } from "./errors.js";
import type { Payload as PayloadMessage } from "./gen/haulier/v1/payload_pb.js";

/** Any JSON value. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/**
 * A request, result or checkpoint as it is stored: JSON text, raw bytes, or nothing. Plain values and `Uint8Array`s are
 * turned into one by themselves; use this class for JSON text that must stay byte for byte, for a content type of your own,
 * and for generated protobuf messages.
 */
export class Payload {
  private constructor(
    /** JSON text. */
    readonly json: string | undefined,
    /** Raw bytes. */
    readonly data: Uint8Array | undefined,
    /** Media type. */
    readonly contentType: string,
  ) {}

  /** Nothing; handlers see null. */
  static readonly nothing = new Payload(undefined, undefined, "");

  /** JSON text, kept byte for byte. The server checks that it is JSON. */
  static json(text: string, contentType = "application/json"): Payload {
    return new Payload(text, undefined, contentType);
  }

  /** Raw bytes, never interpreted. */
  static bytes(data: Uint8Array, contentType = "application/octet-stream"): Payload {
    return new Payload(undefined, data, contentType);
  }

  /** A generated protobuf message (protobuf-es) as its JSON. */
  static message<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): Payload {
    return Payload.json(toJsonString(schema, message));
  }

  /**
   * Whatever a caller gave. `undefined` is nothing; `null` is the JSON value null.
   *
   * @throws `UNSERIALIZABLE` when `JSON.stringify` refuses it, or for a function or a symbol. `what` names it in the message.
   */
  static of(value: unknown, what = "the value"): Payload {
    if (value === undefined) return Payload.nothing;
    if (value instanceof Payload) return value;
    if (value instanceof Uint8Array) return Payload.bytes(value);
    if (typeof value === "object" && value !== null && "$typeName" in value) {
      throw unserializable(`${what} is a protobuf message: give Payload.message(itsSchema, message)`);
    }
    let text: string | undefined;
    try {
      text = JSON.stringify(value);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw unserializable(`${what} cannot be written as JSON: ${why}`, cause);
    }
    if (text === undefined) throw unserializable(`${what} is a ${typeof value}, which JSON cannot hold`);
    return Payload.json(text);
  }

  /**
   * The value: parsed JSON, the bytes as `Uint8Array`, or null for nothing.
   *
   * @throws `UNREADABLE_PAYLOAD` when the text is no JSON.
   */
  value(): unknown {
    if (this.data !== undefined) return this.data;
    if (this.json === undefined) return null;
    try {
      return JSON.parse(this.json);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw errorOfCode(`the payload is not JSON: ${why}`, {
        code: "INVALID_ARGUMENT",
        reason: "UNREADABLE_PAYLOAD",
        cause,
      });
    }
  }
}

function unserializable(message: string, cause?: unknown): HaulierError {
  return errorOfCode(message, { code: "INVALID_ARGUMENT", reason: "UNSERIALIZABLE", cause });
}

/** As the contract has it; undefined for nothing. */
export function payloadMessage(payload: Payload): PayloadMessage | undefined {
  if (payload.json !== undefined) {
    const contentType = payload.contentType === "application/json" ? "" : payload.contentType;
    return { $typeName: "haulier.v1.Payload", kind: { case: "json", value: payload.json }, contentType };
  }
  if (payload.data !== undefined) {
    const contentType = payload.contentType === "application/octet-stream" ? "" : payload.contentType;
    return { $typeName: "haulier.v1.Payload", kind: { case: "data", value: payload.data }, contentType };
  }
  return undefined;
}

/** From the contract. */
export function payloadOf(message: PayloadMessage | undefined): Payload {
  switch (message?.kind.case) {
    case "json":
      return Payload.json(message.kind.value, message.contentType || undefined);
    case "data":
      return Payload.bytes(message.kind.value, message.contentType || undefined);
    default:
      return Payload.nothing;
  }
}
