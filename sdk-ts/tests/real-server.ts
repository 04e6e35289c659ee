import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** The server's binary: HAULIER_BIN, else the one that cargo builds. */
export function binary(): string {
  const path = process.env.HAULIER_BIN || resolve(import.meta.dirname, "../../target/debug/haulier");
  if (!existsSync(path)) {
    throw new Error(`no server at ${path}: build it with \`cargo build\` in the repository, or set HAULIER_BIN`);
  }
  return path;
}

/** A private server on a free port, its database in a temporary folder. */
export class RealServer {
  readonly #folder: string;
  readonly #port: number;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;

  private constructor(folder: string, port: number, args: readonly string[]) {
    this.#folder = folder;
    this.#port = port;
    this.#args = args;
  }

  static async start(...args: string[]): Promise<RealServer> {
    const server = new RealServer(await mkdtemp(join(tmpdir(), "haulier-ts-")), await freePort(), args);
    await server.up();
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  async up(): Promise<void> {
    const url = `sqlite:${join(this.#folder, "haulier.db")}`;
    const args = ["serve", "--listen", this.address, "--database-url", url, ...this.#args];
    const env = { ...process.env, RUST_LOG: process.env.HAULIER_TEST_LOG ?? "warn" };
    const child = spawn(binary(), args, { stdio: ["ignore", "inherit", "inherit"], env });
    this.#child = child;
    const until = Date.now() + 60_000;
    for (;;) {
      const ready = await fetch(`http://${this.address}/readyz`)
        .then((answer) => answer.ok)
        .catch(() => false);
      if (ready) return;
      if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}`);
      if (Date.now() > until) throw new Error("the server was not ready after 60 s");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Kills the process; its database stays. */
  async kill(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}
