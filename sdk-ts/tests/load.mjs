// For `node --import`: runs TypeScript as it is, with `haulier` standing for the sources of this folder. Used by the scenarios,
// the benchmark and tests that start processes; what is packed is tested by smoke.mjs.
import { readFile } from "node:fs/promises";
import { createRequire, register } from "node:module";
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";

if (isMainThread) register(import.meta.url);

const SOURCES = new URL("../src/", import.meta.url);
const require = createRequire(import.meta.url);
let transform;

export async function resolve(specifier, context, next) {
  const entry = /^haulier(?:\/([a-z-]+))?$/.exec(specifier);
  if (entry) return { url: new URL(`${entry[1] ?? "index"}.ts`, SOURCES).href, format: "module", shortCircuit: true };
  const parent = context.parentURL ?? "";
  if (/^\.\.?\//.test(specifier) && specifier.endsWith(".js") && parent.endsWith(".ts")) {
    return next(`${specifier.slice(0, -3)}.ts`, context).catch(() => next(specifier, context));
  }
  // Files elsewhere in the repository use the packages of this folder.
  if (/^[a-z@]/.test(specifier) && !specifier.includes(":") && parent !== "" && !parent.includes("/node_modules/")) {
    return next(specifier, { ...context, parentURL: import.meta.url });
  }
  return next(specifier, context);
}

export async function load(url, context, next) {
  if (!url.endsWith(".ts")) return next(url, context);
  transform ??= (await import(require.resolve("rolldown/experimental"))).transformSync;
  const path = fileURLToPath(url);
  const { code, errors } = transform(path, await readFile(path, "utf8"), { lang: "ts", target: "node20" });
  if (errors.length > 0) throw new SyntaxError(`${path}: ${errors.map(({ message }) => message).join("; ")}`);
  return { format: "module", source: code, shortCircuit: true };
}
