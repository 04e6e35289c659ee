import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createSecureServer, type Http2SecureServer } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { connect, type NodeConnectOptions } from "haulier";
import { createTransport } from "haulier/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { JobService } from "../src/gen/haulier/v1/job_service_pb.js";

let folder: string;
let server: Http2SecureServer;
let address: string;
let ca: string;
/** What callers have shown. */
let authorizations: (string | null)[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "haulier-tls-"));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const names = ["-subj", "/CN=haulier", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  await promisify(execFile)("openssl", [...made, ...names, "-keyout", key, "-out", cert]);
  ca = await readFile(cert, "utf8");
  const routes = connectNodeAdapter({
    routes: (router) =>
      router.rpc(JobService.method.enqueueCommand, (_, context) => {
        authorizations.push(context.requestHeader.get("authorization"));
        return { jobId: 7n, refId: "r", created: true, state: 3 };
      }),
  });
  server = createSecureServer({ key: await readFile(key), cert: ca }, routes);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const bound = server.address();
  address = `https://127.0.0.1:${typeof bound === "object" && bound ? bound.port : 0}`;
});
afterEach(() => {
  authorizations = [];
  delete process.env.HAULIER_API_KEY;
  delete process.env.HAULIER_API_KEY_FILE;
  delete process.env.HAULIER_ADDRESS;
});
afterAll(async () => {
  server.close();
  await rm(folder, { recursive: true, force: true });
});

describe.each([
  ["connect-node", (options: NodeConnectOptions) => connect(options)],
  ["grpc-js", (options: NodeConnectOptions) => connect({ transport: createTransport(options), retryTime: 0 })],
])("over TLS and %s", (_, reach) => {
  test("a server with a certificate of one's own authority is called, with the key", async () => {
    const job = await reach({ address, apiKey: "secret", tls: { ca } }).enqueue("x");
    expect(job.id).toBe("7");
    expect(authorizations).toEqual(["Bearer secret"]);
  });

  test("address and key come from the environment, the key from a file too", async () => {
    process.env.HAULIER_ADDRESS = address;
    process.env.HAULIER_API_KEY = "from the environment";
    await reach({ tls: { ca } }).enqueue("x");
    delete process.env.HAULIER_API_KEY;
    process.env.HAULIER_API_KEY_FILE = join(folder, "api-key");
    await writeFile(process.env.HAULIER_API_KEY_FILE, "from a file\n");
    await reach({ tls: { ca } }).enqueue("x");
    expect(authorizations).toEqual(["Bearer from the environment", "Bearer from a file"]);
    process.env.HAULIER_API_KEY_FILE = join(folder, "nowhere");
    expect(() => reach({ tls: { ca } })).toThrow(/HAULIER_API_KEY_FILE: the file cannot be read/);
  });

  test("a server whose certificate nobody vouches for is not called", async () => {
    const call = reach({ address, apiKey: "secret", retryTime: 0 }).enqueue("x");
    await expect(call).rejects.toMatchObject({ name: "UnavailableError", reason: "SERVER_UNREACHABLE" });
    expect(authorizations).toEqual([]);
  });
});
