import { readFileSync } from "node:fs";
import type { SecureClientSessionOptions } from "node:http2";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Client } from "./client.js";
import { invalidField } from "./errors.js";
import { MESSAGE_READ_BYTES_MAX, MESSAGE_WRITE_BYTES_MAX } from "./limits.js";
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
    baseUrl: baseUrl(options.address ?? (process.env.HAULIER_ADDRESS || undefined)),
    interceptors: authentication(options.apiKey ?? apiKeyOfEnvironment()),
    readMaxBytes: MESSAGE_READ_BYTES_MAX,
    writeMaxBytes: MESSAGE_WRITE_BYTES_MAX,
    // Compression costs more CPU than it saves on the short way to a job server.
    acceptCompression: [],
    pingIntervalMs: 10_000,
    pingTimeoutMs: 5_000,
    nodeOptions: options.tls,
  });
}

function apiKeyOfEnvironment(): string | undefined {
  const { HAULIER_API_KEY: key, HAULIER_API_KEY_FILE: file } = process.env;
  if (key || !file) return key || undefined;
  try {
    return readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw invalidField("HAULIER_API_KEY_FILE", `the file cannot be read: ${(cause as Error).message}`);
  }
}
