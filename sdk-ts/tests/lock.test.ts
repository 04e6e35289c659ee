import { AbortedError, connect, PeriodicWorker, silentLogger, UnavailableError } from "haulier";
import { afterEach, beforeEach, describe, expect, inject, onTestFinished, test, vi } from "vitest";
import { Lock, type LockCalls } from "../src/lock.js";

const address = inject("address");
let count = 0;
const fresh = () => `lock-${++count}-${Date.now().toString(36)}`;

describe("a lock that is held", () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
  afterEach(() => void vi.useRealTimers());

  const hold = (calls: Partial<LockCalls>, { leaseTimeMs = 30_000, waitedMs = 0 } = {}) =>
    new Lock(
      { name: "x", ownerId: "o", fencingToken: 7 },
      { leaseTimeMs, heldMs: leaseTimeMs + waitedMs, sentAt: performance.now() - waitedMs },
      { renew: async () => leaseTimeMs, release: async () => true, ...calls },
    );

  test("renews itself at a third of its lease time, until it is released", async () => {
    const renew = vi.fn(async () => 30_000);
    const lock = hold({ renew });
    await vi.advanceTimersByTimeAsync(35_000);
    expect(renew).toHaveBeenCalledTimes(3);
    expect(await lock.release()).toBe(true);
    expect(await lock.release()).toBe(false);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(renew).toHaveBeenCalledTimes(3);
    expect(lock.signal.aborted).toBe(false);
  });

  test("is renewed at a third of its lease time after a long wait for it too", async () => {
    const renew = vi.fn(async () => 6_000);
    const lock = hold({ renew }, { leaseTimeMs: 6_000, waitedMs: 20_000 });
    expect(lock.isHeld).toBe(true);
    expect(lock.timeLeftMs).toBeCloseTo(4_800, 0);
    await vi.advanceTimersByTimeAsync(1_990);
    expect(renew).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(20);
    expect(renew).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(lock.isHeld).toBe(true);
  });

  test("is renewed no more once it is detached", async () => {
    const renew = vi.fn(async () => 30_000);
    const release = vi.fn(async () => true);
    const lock = hold({ renew, release });
    expect(lock.detach()).toEqual({ name: "x", ownerId: "o", fencingToken: 7 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await lock.release()).toBe(false);
    expect([renew, release].map((call) => call.mock.calls.length)).toEqual([0, 0]);
  });

  test("is lost at once when the server says so", async () => {
    const lost = new AbortedError("gone", { code: "ABORTED", reason: "LOCK_LOST" });
    const lock = hold({ renew: () => Promise.reject(lost) });
    await vi.advanceTimersByTimeAsync(10_001);
    expect(lock.signal.reason).toMatchObject({ name: "AbortedError", reason: "LOCK_LOST" });
  });

  test.each<[string, () => Promise<number>]>([
    [
      "is refused",
      () => Promise.reject(new UnavailableError("away", { code: "UNAVAILABLE", reason: "SHUTTING_DOWN" })),
    ],
    ["is not answered", () => new Promise(() => {})],
  ])("that is not renewed, since the renewal %s, counts as lost at four fifths of its lease time", async (_, renew) => {
    const lock = hold({ renew });
    await vi.advanceTimersByTimeAsync(23_000);
    expect(lock.signal.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(2_500);
    expect(lock.signal.aborted).toBe(true);
  });

  test("that could be renewed again in time is kept", async () => {
    let calls = 0;
    const renew = async () => {
      if (++calls < 4) throw new UnavailableError("away", { code: "UNAVAILABLE", reason: "SHUTTING_DOWN" });
      return 30_000;
    };
    const lock = hold({ renew });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(lock.signal.aborted).toBe(false);
  });
});

describe("a named lock on the server", () => {
  test("has one holder at a time, whose token grows, and is released at the end of a block", async () => {
    const client = connect({ address });
    const name = fresh();
    const first = await client.lock(name, { owner: "first" });
    if (first === undefined) throw new Error("the first got no lock");
    expect(await client.lock(name)).toBeUndefined();
    expect(await client.listLocks({ namePrefix: name }).all()).toMatchObject([{ name, owner: "first" }]);
    const waiting = client.lock(name, { wait: "10s" });
    await first[Symbol.asyncDispose]();
    const second = await waiting;
    expect(second?.fencingToken).toBeGreaterThan(first.fencingToken);
    await second?.release();
    expect(await client.listLocks({ namePrefix: name }).all()).toEqual([]);
  });

  test("is the same for the same owner id, and held on by its key", async () => {
    const client = connect({ address });
    const name = fresh();
    const first = await client.lock(name, { ownerId: name });
    const again = await client.lock(name, { ownerId: name });
    expect(again?.fencingToken).toBe(first?.fencingToken);
    again?.detach();
    if (first === undefined) throw new Error("the first got no lock");
    const key = first.detach();
    expect(await client.renewLock(key, "10s")).toBe(10_000);
    expect(await client.releaseLock(key)).toBe(true);
    expect(await client.releaseLock(key)).toBe(false);
    await expect(client.lock(name, { wait: "forever" })).resolves.toMatchObject({ isHeld: true });
    await expect(client.renewLock(key, "10s")).rejects.toMatchObject({ name: "AbortedError", reason: "LOCK_LOST" });
  });

  test("is given back when the call that acquires it is aborted", async () => {
    const client = connect({ address });
    const name = fresh();
    for (let round = 0; round < 20; round++) {
      const lock = await client.lock(name, { wait: "10s" });
      expect(lock, `nobody holds it who does not know: round ${round}`).toBeDefined();
      const [early, late] = [new AbortController(), new AbortController()];
      const waiting = (signal: AbortSignal) =>
        client.lock(name, { wait: "forever", signal }).then(
          (got) => got?.release(),
          () => undefined,
        );
      const waiters = [waiting(early.signal)];
      await new Promise((resolve) => setTimeout(resolve, 10));
      if (round % 2 === 0) early.abort();
      const released = lock?.release();
      early.abort();
      waiters.push(waiting(late.signal));
      await released;
      late.abort();
      await Promise.all(waiters);
    }
  });

  test("is told lost when an operator breaks it", async () => {
    const client = connect({ address });
    const name = fresh();
    const lock = await client.lock(name, { leaseTime: "5s" });
    await client.breakLock(name, { reason: "test" });
    await expect.poll(() => lock?.signal.aborted).toBe(true);
    expect(lock?.signal.reason).toMatchObject({ reason: "LOCK_LOST" });
    expect(await lock?.release()).toBe(false);
  });

  test("lets a singleton run in one place, with its token, and in the next when that stops", async () => {
    const client = connect({ address });
    const name = fresh();
    const runs: string[] = [];
    const tokens = new Set<number | undefined>();
    const make = (by: string) => {
      const periodic = PeriodicWorker.periodic(
        name,
        { period: "20ms", runAtStart: true, singleton: true },
        ({ fencingToken }) => {
          runs.push(by);
          tokens.add(fencingToken);
        },
      );
      periodic.startWith(client, silentLogger);
      onTestFinished(() => periodic.stop());
      return periodic;
    };
    const first = make("first");
    await expect.poll(() => runs.length).toBeGreaterThan(2);
    make("second");
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(new Set(runs)).toEqual(new Set(["first"]));
    await first.stop();
    await expect.poll(() => runs.includes("second")).toBe(true);
    expect([...tokens].every((token) => typeof token === "number")).toBe(true);
    expect(tokens.size).toBe(2);
  });
});
