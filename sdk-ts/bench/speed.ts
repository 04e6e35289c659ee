// How much CPU time the SDK adds to a call, in one run beside loops without it: `node --import ./tests/load.mjs bench/speed.ts
// [COUNT] [ROUNDS] [WHICH]`. Needs the server's binary (HAULIER_BIN) or a server (HAULIER_ADDRESS). CPU is that of the process that calls, the least of
// all rounds: what else the machine does can only add to it.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { connect } from "haulier";
import { RealServer } from "../tests/real-server.js";

const count = Number(process.argv[2] ?? 4_000);
const rounds = Number(process.argv[3] ?? 3);
const which = process.argv[4] ?? "";
const own = process.env.HAULIER_ADDRESS ? undefined : await RealServer.start();
const address = own?.address ?? process.env.HAULIER_ADDRESS ?? "";
const run = promisify(execFile);

interface Figures {
  readonly perSecond: number;
  readonly cpuMicros: number;
}

async function loop(kind: string, transport: string, queue: string): Promise<Figures> {
  const load = new URL("../tests/load.mjs", import.meta.url).href;
  const file = new URL("./loops.ts", import.meta.url).pathname;
  const args = ["--import", load, file, kind, transport, String(count), queue];
  const { stdout } = await run(process.execPath, args, { env: { ...process.env, HAULIER_ADDRESS: address } });
  return JSON.parse(stdout) as Figures;
}

/** Jobs for a worker: those that are counted, and those that warm it up. */
async function fill(queue: string): Promise<void> {
  const client = connect({ address });
  let next = 0;
  const caller = async () => {
    while (next < count + 1_000) await client.enqueue("noop", { index: next++ }, { queue });
  };
  await Promise.all(Array.from({ length: 64 }, caller));
}

const seen = new Map<string, Figures[]>();
try {
  for (let round = 0; round < rounds; round++) {
    for (const work of ["enqueue", "work"]) {
      for (const transport of ["connect-node", "grpc-js"]) {
        for (const who of ["bare", "sdk"]) {
          const name = `${work} ${transport} ${who}`;
          if (!name.includes(which)) continue;
          const queue = `bench-${work}-${transport}-${who}-${round}-${process.pid}`;
          if (work === "work") await fill(queue);
          seen.set(name, [...(seen.get(name) ?? []), await loop(`${work}-${who}`, transport, queue)]);
        }
      }
    }
  }
} finally {
  await own?.stop();
}
const least = (figures: readonly Figures[]) => Math.min(...figures.map(({ cpuMicros }) => cpuMicros));
console.log(`${count} calls or jobs, best of ${rounds} rounds, Node ${process.version}`);
for (const [name, figures] of seen) {
  const cpu = least(figures);
  const rate = Math.max(...figures.map(({ perSecond }) => perSecond));
  const added = cpu / least(seen.get(name.replace(/sdk$/, "bare")) ?? figures) - 1;
  const more = name.endsWith("sdk") ? `, ${(added * 100).toFixed(0)} % more than bare` : "";
  console.log(`${name.padEnd(26)} ${cpu.toFixed(1).padStart(7)} us CPU, ${rate.toFixed(0).padStart(6)}/s${more}`);
}
