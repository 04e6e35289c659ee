import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { silentLogger, UnimplementedError, Worker } from "haulier";
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

let server: RealServer;
let worker: Worker;

beforeAll(async () => {
  server = await RealServer.start();
  process.env.HAULIER_ADDRESS = server.address;
  vi.spyOn(console, "log").mockImplementation(() => {});
  const echo = (_: unknown, request: unknown) => request;
  const commands = ["send_email", "extract", "load", "report", "merge", "notify_team"];
  const handlers = Object.fromEntries(commands.map((name) => [name, echo]));
  worker = new Worker({ handlers, logger: silentLogger, handleSignals: false });
  void worker.run();
  await mkdir(FOLDER, { recursive: true });
  await writeFile(join(FOLDER, "define.ts"), 'export * from "../define.js";\n');
});

afterAll(async () => {
  process.emit("SIGTERM"); // ends examples/work.ts
  await worker.stop({ grace: "1ms" });
  await server.stop();
  await rm(FOLDER, { recursive: true, force: true });
  delete process.env.HAULIER_ADDRESS;
});

describe("the README", () => {
  test.each(blocks.filter((block) => block.file !== undefined))("shows $file as it is", async ({ file, code }) => {
    expect(await readFile(join(ROOT, file ?? ""), "utf8")).toBe(code);
  });

  test("has three files that work together", async () => {
    void import("../examples/work.js");
    await import("../examples/enqueue.js");
    expect(vi.mocked(console.log)).toHaveBeenCalledWith("cat.png@100");
  });

  test.each(blocks.filter((block) => block.file === undefined).map((block, index) => ({ ...block, index })))(
    "runs example $index, $title",
    async ({ code, index }) => {
      const file = join(FOLDER, `example-${index}.ts`);
      await writeFile(file, code.replace("127.0.0.1:4285", server.address));
      try {
        await import(/* @vite-ignore */ file);
      } catch (error) {
        expect(error).toBeInstanceOf(UnimplementedError); // what the server does not have yet
        console.warn(`not built yet: ${(error as Error).message}`);
      }
    },
  );
});
