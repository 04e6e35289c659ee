import { readFileSync } from "node:fs";
import type { SecureClientSessionOptions } from "node:http2";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Client } from "./client.js";
import { invalidField } from "./errors.js";
import { MESSAGE_READ_BYTES_MAX, MESSAGE_WRITE_BYTES_MAX, PING_INTERVAL_MS, PING_TIMEOUT_MS } from "./limits.js";
import { authentication, baseUrl, type ConnectOptions } from "./transport.js";

/** How to reach the server from Node. */
export interface NodeConnectOptions extends ConnectOptions {
  /** TLS for `https://` addresses: `ca`, `cert`, `key` and the like, as for `http2.connect`. @default Node's own */
  readonly tls?: SecureClientSessionOptions;
}

/**
 * A client over gRPC. Nothing is sent yet; the connection is made by the first call, and made anew when it breaks.
 *
 * @example
 * ```ts
 * const client = connect({ address: "127.0.0.1:4285" });
 * ```
 */
export function connect(options: NodeConnectOptions = {}): Client {
  return new Client(createTransport(options), options);
}

/** The transport that `connect` and `Worker` use unless they are given one: gRPC over one HTTP/2 connection. */
export function createTransport(options: NodeConnectOptions = {}): Transport {
  if (options.transport !== undefined) return options.transport;
  return createGrpcTransport({
    baseUrl: nodeBaseUrl(options),
    interceptors: authentication(apiKeyOf(options)),
    readMaxBytes: MESSAGE_READ_BYTES_MAX,
    writeMaxBytes: MESSAGE_WRITE_BYTES_MAX,
    // Compression costs more CPU than it saves on the short way to a job server.
    acceptCompression: [],
    pingIntervalMs: PING_INTERVAL_MS,
    pingTimeoutMs: PING_TIMEOUT_MS,
    nodeOptions: options.tls,
  });
}

/** The base URL of the options, else of the environment. */
export function nodeBaseUrl({ address }: Pick<ConnectOptions, "address">): string {
  return baseUrl(address ?? (process.env.HAULIER_ADDRESS || undefined));
}

/** The API key of the options, else of the environment. */
export function apiKeyOf({ apiKey }: Pick<ConnectOptions, "apiKey">): string | undefined {
  if (apiKey !== undefined) return apiKey;
  const { HAULIER_API_KEY: key, HAULIER_API_KEY_FILE: file } = process.env;
  if (key || !file) return key || undefined;
  try {
    return readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw invalidField("HAULIER_API_KEY_FILE", `the file cannot be read: ${(cause as Error).message}`);
  }
}
