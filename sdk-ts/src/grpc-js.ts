/**
 * gRPC over `@grpc/grpc-js`, which is to be installed beside this package: for programs that make thousands of calls a second.
 * A call costs about a third less CPU time than over the transport that `connect` uses by itself; a worker's claims and reports,
 * of many jobs each, cost the same (`bench/speed.ts` measures both).
 *
 * @packageDocumentation
 */
import { once } from "node:events";
import type { SecureClientSessionOptions } from "node:http2";
import { createSecureContext, type PeerCertificate } from "node:tls";
import {
  create,
  type DescMessage,
  type DescMethod,
  type DescMethodStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type StreamResponse, type Transport, type UnaryResponse } from "@connectrpc/connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import {
  type CallOptions,
  type ClientDuplexStream,
  connectivityState,
  credentials,
  Client as GrpcClient,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import {
  CONNECT_TIME_MAX_MS,
  MESSAGE_READ_BYTES_MAX,
  MESSAGE_WRITE_BYTES_MAX,
  PING_INTERVAL_MS,
  PING_TIMEOUT_MS,
} from "./limits.js";
import { apiKeyOf, type NodeConnectOptions, nodeBaseUrl } from "./node.js";

/**
 * A transport for `connect` and `Worker`, over one HTTP/2 connection. It takes address, key and TLS as they do.
 *
 * @example
 * ```ts
 * const client = connect({ transport: createTransport({ address: "127.0.0.1:4285" }) });
 * ```
 */
export function createTransport(options: Pick<NodeConnectOptions, "address" | "apiKey" | "tls"> = {}): Transport {
  return new GrpcJsTransport(nodeBaseUrl(options), apiKeyOf(options), options.tls);
}

/** Messages of a stream that are read before they are asked for. */
const READ_AHEAD_MAX = 64;

class GrpcJsTransport implements Transport {
  readonly #connect: () => GrpcClient;
  readonly #prefix: string;
  readonly #authorization: string | undefined;
  readonly #codecs = new Map<DescMethod, Codec>();
  #client: GrpcClient;
  #connecting: NodeJS.Timeout | undefined;

  constructor(baseUrl: string, apiKey: string | undefined, tls: SecureClientSessionOptions | undefined) {
    const url = new URL(baseUrl);
    const isSecure = url.protocol === "https:";
    this.#prefix = url.pathname.replace(/\/+$/, "");
    this.#authorization = apiKey ? `Bearer ${apiKey}` : undefined;
    const address = `${url.hostname}:${url.port || (isSecure ? 443 : 80)}`;
    const security = isSecure ? secure(tls ?? {}) : credentials.createInsecure();
    const options = {
      "grpc.max_receive_message_length": MESSAGE_READ_BYTES_MAX,
      "grpc.max_send_message_length": MESSAGE_WRITE_BYTES_MAX,
      "grpc.keepalive_time_ms": PING_INTERVAL_MS,
      "grpc.keepalive_timeout_ms": PING_TIMEOUT_MS,
      // The client repeats calls by itself, with the server's delay; a channel that waits longer would keep it from that.
      "grpc.enable_retries": 0,
      "grpc.initial_reconnect_backoff_ms": 50,
      "grpc.max_reconnect_backoff_ms": 1_000,
      // One connection for each client, as with the other transports: one that breaks takes no other along.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_http_proxy": 0,
      ...(tls?.servername && { "grpc.ssl_target_name_override": tls.servername }),
    };
    this.#connect = () => new GrpcClient(address, security, options);
    this.#client = this.#connect();
  }

  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: MessageInitShape<I>,
  ): Promise<UnaryResponse<I, O>> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(aborted(signal));
      const { path, serialize, deserialize } = this.#codec(method);
      const metadata = this.#metadata(header);
      const options = callOptions(timeoutMs);
      this.#watchConnecting();
      const call = this.#client.makeUnaryRequest(
        path,
        serialize,
        deserialize,
        create(method.input, input),
        metadata,
        options,
        (error, message) => {
          signal?.removeEventListener("abort", onAbort);
          if (error) return reject(signal?.aborted ? aborted(signal) : connectError(error));
          resolve({
            stream: false,
            service: method.parent,
            method,
            header: new Headers(),
            trailer: new Headers(),
            message: message as MessageShape<O>,
          });
        },
      );
      const onAbort = () => call.cancel();
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: AsyncIterable<MessageInitShape<I>>,
  ): Promise<StreamResponse<I, O>> {
    if (signal?.aborted) throw aborted(signal);
    const { path, serialize, deserialize } = this.#codec(method);
    this.#watchConnecting();
    const call = this.#client.makeBidiStreamRequest(
      path,
      serialize,
      deserialize,
      this.#metadata(header),
      callOptions(timeoutMs),
    );
    const ended = new AbortController();
    const onAbort = () => call.cancel();
    signal?.addEventListener("abort", onAbort, { once: true });
    call.once("close", () => ended.abort());
    call.on("error", () => ended.abort()); // the reader throws it
    void send(call, method.input, input, ended.signal);
    return {
      stream: true,
      service: method.parent,
      method,
      header: new Headers(),
      trailer: new Headers(),
      message: receive<O>(call, signal, () => {
        ended.abort();
        signal?.removeEventListener("abort", onAbort);
      }),
    };
  }

  /**
   * Gives up a connection that does not come about: the library waits for ever for one that is accepted and then silent, and
   * all calls with it. They fail as unavailable, and are repeated over a new one.
   */
  #watchConnecting(): void {
    const stateNow = () => this.#client.getChannel().getConnectivityState(false);
    if (this.#connecting !== undefined || stateNow() === connectivityState.READY) return;
    let since = performance.now();
    this.#connecting = setInterval(() => {
      const state = stateNow();
      if (state === connectivityState.READY || state === connectivityState.IDLE) {
        clearInterval(this.#connecting);
        this.#connecting = undefined;
      } else if (state !== connectivityState.CONNECTING) {
        since = performance.now();
      } else if (performance.now() - since > CONNECT_TIME_MAX_MS) {
        const silent = this.#client;
        this.#client = this.#connect();
        silent.close();
      }
    }, 1_000);
    this.#connecting.unref();
  }

  #codec(method: DescMethod): Codec {
    const known = this.#codecs.get(method);
    if (known !== undefined) return known;
    const { input, output } = method;
    const codec: Codec = {
      path: `${this.#prefix}/${method.parent.typeName}/${method.name}`,
      serialize: (message) => {
        const bytes = toBinary(input, message as MessageShape<typeof input>);
        return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      },
      // Not as a Buffer: fields of bytes are parts of what is read, and are given to users.
      deserialize: (bytes) => fromBinary(output, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)),
    };
    this.#codecs.set(method, codec);
    return codec;
  }

  #metadata(header: HeadersInit | undefined): Metadata {
    const metadata = new Metadata();
    if (this.#authorization !== undefined) metadata.set("authorization", this.#authorization);
    if (header !== undefined) for (const [name, value] of new Headers(header)) metadata.set(name, value);
    return metadata;
  }
}

interface Codec {
  readonly path: string;
  readonly serialize: (message: unknown) => Buffer;
  readonly deserialize: (bytes: Buffer) => unknown;
}

function callOptions(timeoutMs: number | undefined): CallOptions {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}

/** Writes all messages, as fast as they are taken, until the call has ended. */
async function send<I extends DescMessage>(
  call: ClientDuplexStream<unknown, unknown>,
  schema: I,
  input: AsyncIterable<MessageInitShape<I>>,
  ended: AbortSignal,
): Promise<void> {
  try {
    for await (const message of input) {
      if (ended.aborted) return;
      if (!call.write(create(schema, message))) await once(call, "drain", { signal: ended });
    }
    if (!ended.aborted) call.end();
  } catch {
    call.cancel(); // what made the messages failed, or the call has ended: the reader hears of it
  }
}

/** The messages as they come. Not by the iterator of the stream itself, which takes several times as long for each. */
function receive<O extends DescMessage>(
  call: ClientDuplexStream<unknown, unknown>,
  signal: AbortSignal | undefined,
  end: () => void,
): AsyncGenerator<MessageShape<O>, void, undefined> {
  const waiting: MessageShape<O>[] = [];
  let over: { readonly error?: Error } | undefined;
  let wake = () => {};
  const ended = (error?: Error) => {
    over ??= error === undefined ? {} : { error };
    wake();
  };
  call.on("data", (message: MessageShape<O>) => {
    if (waiting.push(message) >= READ_AHEAD_MAX) call.pause();
    wake();
  });
  call.once("error", ended).once("end", ended).once("close", ended);
  async function* messages() {
    try {
      for (;;) {
        const message = waiting.shift();
        if (message !== undefined) {
          yield message;
          if (waiting.length === 0 && call.isPaused()) call.resume();
          continue;
        }
        if (over !== undefined) break;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      if (over.error === undefined) return;
      if (signal?.aborted) throw aborted(signal);
      throw isServiceError(over.error) ? connectError(over.error) : over.error;
    } finally {
      end();
      call.cancel();
    }
  }
  return messages();
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;
}

/** The error as Connect's own transports give it, with its details. */
function connectError(error: ServiceError): ConnectError {
  const trailer = new Headers({
    "grpc-status": String(error.code),
    "grpc-message": encodeURIComponent(error.details),
  });
  const [details] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (details instanceof Buffer) trailer.set("grpc-status-details-bin", details.toString("base64"));
  return findTrailerError(trailer) ?? new ConnectError(error.details, Code.Unknown, undefined, undefined, error);
}

function aborted(signal: AbortSignal): ConnectError {
  return new ConnectError("the call was aborted", Code.Canceled, undefined, undefined, signal.reason);
}

function secure(tls: SecureClientSessionOptions) {
  const check = tls.checkServerIdentity;
  return credentials.createFromSecureContext(createSecureContext(tls), {
    ...(check && { checkServerIdentity: (host: string, cert: PeerCertificate) => check(host, cert) }),
    ...(tls.rejectUnauthorized === false && { rejectUnauthorized: false }),
  });
}
