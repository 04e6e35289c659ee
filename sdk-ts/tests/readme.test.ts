import { execFile } from "node:child_process";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { connect, silentLogger, Worker } from "haulier";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { RealServer } from "./real-server.js";

const ROOT = resolve(import.meta.dirname, "..");
const FOLDER = join(ROOT, "examples/.readme");
const text = await readFile(join(ROOT, "README.md"), "utf8");
let title = "";
const blocks = [...text.matchAll(/^## (.+)$|^```ts(?: file=(\S+))?\n([\s\S]*?)^```$/gm)].reduce<
  { title: string; file: string | undefined; code: string }[]
>((found, [, heading, file, code]) => {
  if (heading !== undefined) title = heading;
  if (code !== undefined) found.push({ title, file, code });
  return found;
}, []);

/** What the server of the examples knows: the targets and the secret that they name. */
const SETTINGS = `
[secrets.HOOK_TOKEN]
value = "token"
hosts = ["example.org"]

[targets.shop]
url = "https://shop.example.org"
protocol = "http"
allowed = ["POST /orders/*/receipt"]

[targets.shop-grpc]
url = "https://shop.example.org"
protocol = "grpc"
allowed = ["shop.v1.OrderService/SendReceipt"]

[pool]
enabled = false
`;

/** The examples that are no file of their own. */
const examples = blocks
  .filter((block) => block.file === undefined)
  .map(({ title, code }, index) => ({ title, code, index, file: join(FOLDER, `example-${index}.ts`) }));

let server: RealServer;
let worker: Worker;
let spare: Worker;
/** Workers that an example has made and does not run itself. */
const made = new Set<Worker>();

beforeAll(async () => {
  await mkdir(FOLDER, { recursive: true });
  await writeFile(join(FOLDER, "haulier.toml"), SETTINGS);
  server = await RealServer.start("--config", join(FOLDER, "haulier.toml"));
  process.env.HAULIER_ADDRESS = server.address;
  vi.spyOn(console, "log").mockImplementation(() => {});
  const echo = (_: unknown, request: unknown) => request;
  const commands = ["send_email", "extract", "load", "report", "merge", "notify_team"];
  const handlers = Object.fromEntries(commands.map((name) => [name, echo]));
  worker = new Worker({ handlers, logger: silentLogger, handleSignals: false });
  void worker.run();
  // One for an example to drain.
  spare = new Worker({
    name: "mail-1",
    queues: ["spare"],
    handlers: { spare: echo },
    logger: silentLogger,
    handleSignals: false,
  });
  void spare.run();
  await spare.registered();
  for (const method of ["handle", "periodic", "background"] as const) {
    const original = Worker.prototype[method] as (this: Worker, ...args: unknown[]) => unknown;
    vi.spyOn(Worker.prototype, method).mockImplementation(function (this: Worker, ...args: unknown[]) {
      made.add(this);
      return original.apply(this, args) as never;
    });
  }
  await writeFile(join(FOLDER, "define.ts"), 'export * from "../define.js";\n');
  await copyFile(join(ROOT, "examples/heavy.js"), join(FOLDER, "heavy.js"));
  await Promise.all(examples.map(({ code, file }) => writeFile(file, code.replace("127.0.0.1:4285", server.address))));
});

afterAll(async () => {
  process.emit("SIGTERM"); // ends examples/work.ts
  await Promise.all([worker, spare].map((each) => each.stop({ grace: "1ms" })));
  await server.stop();
  await rm(FOLDER, { recursive: true, force: true });
  delete process.env.HAULIER_ADDRESS;
});

/** Jobs for the workers of the examples that have this word. */
const JOBS = [
  {
    word: 'name: "mail-1", //',
    command: "import",
    request: {},
    options: { queue: "mail" },
    result: { rows: 100, fence: expect.any(Number) },
  },
  {
    word: 'name: "mail-1", //',
    command: "send_email",
    request: { to: "x@example.org" },
    options: { queue: "mail" },
    result: null,
  },
  { word: '"./heavy.js"', command: "heavy", request: { n: 10 }, options: {}, result: 55 },
];
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const printed = () => vi.mocked(console.log).mock.calls.map(([first]) => first as unknown);

describe("the README", () => {
  test.each(blocks.filter((block) => block.file !== undefined))("shows $file as it is", async ({ file, code }) => {
    expect(await readFile(join(ROOT, file ?? ""), "utf8")).toBe(code);
  });

  test("has three files that work together", async () => {
    void import("../examples/work.js");
    await import("../examples/enqueue.js");
    expect(vi.mocked(console.log)).toHaveBeenCalledWith("cat.png@100");
  });

  test("has examples that the compiler accepts", { timeout: 60_000 }, async () => {
    const project = join(FOLDER, "tsconfig.json");
    await writeFile(project, JSON.stringify({ extends: "../../tsconfig.json", include: ["*.ts"] }));
    const compiler = join(ROOT, "node_modules/.bin/tsc");
    const { stdout } = await promisify(execFile)(compiler, ["-p", project]).catch((error: { stdout: string }) => error);
    expect(stdout).toBe("");
  });

  test.each(examples)("runs example $index, $title", async ({ code, file }) => {
    made.clear();
    await import(/* @vite-ignore */ file);
    const runs = [...made].map((each) => ({ each, run: each.run() }));
    await Promise.all(runs.map(({ each }) => Promise.race([each.registered(), pause(200)])));
    for (const { command, request, options, result } of JOBS.filter(({ word }) => code.includes(word))) {
      const client = connect();
      expect(await client.wait(await client.enqueue(command, request, options))).toEqual(result);
    }
    if (code.includes("cleaning up")) await vi.waitFor(() => expect(printed()).toContain("cleaning up"), 20_000);
    await Promise.all(runs.map(({ each, run }) => each.stop({ grace: "1s" }).then(() => run)));
  });
});
