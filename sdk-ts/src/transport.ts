import type { Interceptor, Transport } from "@connectrpc/connect";
import type { Duration } from "./duration.js";
import { invalidField } from "./errors.js";
import { ADDRESS_DEFAULT } from "./limits.js";

/** W3C trace context of the caller. */
export interface TraceContext {
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** How to reach the server. */
export interface ConnectOptions {
  /** `host:port`, `http://..` or `https://..`. @default `HAULIER_ADDRESS`, else 127.0.0.1:4285 */
  readonly address?: string;
  /** API key. @default `HAULIER_API_KEY`, or the content of the file `HAULIER_API_KEY_FILE`; none */
  readonly apiKey?: string;
  /** A transport of your own (any of Connect's): address and key are then yours to set. @default gRPC, or gRPC-Web in browsers */
  readonly transport?: Transport;
  /** Longest time of one try of a call. @default "30s" */
  readonly timeout?: Duration;
  /** How long a call that met UNAVAILABLE or RESOURCE_EXHAUSTED is repeated; 0: never. @default "30s" */
  readonly retryTime?: Duration;
  /** Asked at each enqueue for the caller's trace context, such as that of OpenTelemetry. @default none */
  readonly traceContext?: () => TraceContext | undefined;
}

/** The base URL of an address. */
export function baseUrl(address: string = ADDRESS_DEFAULT): string {
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(address) ? address : `http://${address}`;
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw invalidField("address", `${JSON.stringify(address)} is no address: give host:port, http://.. or https://..`);
  }
  if ((url.protocol !== "http:" && url.protocol !== "https:") || url.hostname === "") {
    throw invalidField("address", `${JSON.stringify(address)} is no address: give host:port, http://.. or https://..`);
  }
  return text.replace(/\/+$/, "");
}

/** Adds the API key to every call. */
export function authentication(apiKey: string | undefined): Interceptor[] {
  if (!apiKey) return [];
  return [
    (next) => (request) => {
      request.header.set("authorization", `Bearer ${apiKey}`);
      return next(request);
    },
  ];
}
