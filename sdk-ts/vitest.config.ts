import { resolve } from "node:path";
import { defineConfig } from "vitest/config";

const source = (file: string) => resolve(import.meta.dirname, "src", file);

export default defineConfig({
  resolve: {
    // Examples import the package by its name; here that is its source. run-tests runs them against the packed one too.
    alias: [
      { find: /^haulier\/(grpc-js|testing|thread|web)$/, replacement: source("$1.ts") },
      { find: /^haulier$/, replacement: source("index.ts") },
    ],
  },
  test: {
    globalSetup: ["tests/setup.ts"],
    include: ["tests/**/*.test.ts"],
    // Long, since nothing here measures time: a machine may be busy with other things.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 20_000 } },
    slowTestThreshold: 5_000,
    maxWorkers: 2,
  },
});
