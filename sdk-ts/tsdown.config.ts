import { defineConfig } from "tsdown";

export default defineConfig({
  entry: ["src/index.ts", "src/web.ts", "src/testing.ts", "src/thread.ts", "src/grpc-js.ts"],
  format: ["esm", "cjs"],
  platform: "neutral",
  target: ["node20", "chrome110", "firefox115", "safari16"],
  dts: true,
  sourcemap: false,
  clean: true,
  fixedExtension: false,
  deps: { neverBundle: [/^node:/, /^@grpc\//] },
});
