/**
 * The client half of Haulier's TypeScript SDK for browsers, and whatever else has `fetch`: gRPC-Web over HTTP/1.1 or HTTP/2.
 *
 * @packageDocumentation
 */
import type { Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Client } from "./client.js";
import { authentication, baseUrl, type ConnectOptions } from "./transport.js";

export * from "./shared.js";

/** How to reach the server over gRPC-Web. */
export interface WebConnectOptions extends ConnectOptions {
  /** A `fetch` of your own. @default the global one */
  readonly fetch?: typeof globalThis.fetch;
}

/**
 * A client over gRPC-Web.
 *
 * @example
 * ```ts
 * const client = connect(); // the server that the page came from
 * ```
 */
export function connect(options: WebConnectOptions = {}): Client {
  return new Client(createTransport(options), options);
}

/** The transport that `connect` uses. Without an address it speaks to the server that the page came from. */
export function createTransport(options: WebConnectOptions = {}): Transport {
  if (options.transport !== undefined) return options.transport;
  const { location } = globalThis as { readonly location?: { readonly origin: string } };
  return createGrpcWebTransport({
    baseUrl: baseUrl(options.address ?? location?.origin),
    interceptors: authentication(options.apiKey),
    useBinaryFormat: true,
    ...(options.fetch && { fetch: options.fetch }),
  });
}
