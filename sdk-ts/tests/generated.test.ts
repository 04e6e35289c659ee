import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const ROOT = resolve(import.meta.dirname, "../..");

async function files(folder: string): Promise<Map<string, string>> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(".ts")).sort();
  return new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), "utf8")] as const)),
  );
}

test("the generated code is that of the contract: else run `npm run generate`", async () => {
  const folder = await mkdtemp(join(tmpdir(), "haulier-gen-"));
  try {
    await promisify(execFile)(join(ROOT, "sdk-ts/node_modules/.bin/buf"), ["generate", "-o", folder], { cwd: ROOT });
    const [fresh, committed] = await Promise.all([
      files(join(folder, "sdk-ts/src/gen")),
      files(join(ROOT, "sdk-ts/src/gen")),
    ]);
    expect([...committed.keys()]).toEqual([...fresh.keys()]);
    for (const [name, text] of fresh) expect(committed.get(name) === text, `${name} is stale`).toBe(true);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
