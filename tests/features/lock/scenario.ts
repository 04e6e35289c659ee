// One holder at a time, with a fencing token, and told when it is lost: see README.md.
import { AbortedError, connect, type Lock } from "haulier";
import { expect, expectError, expectThat, named, play, present } from "../stage.js";

play("lock", async (client) => {
  const name = named("lock");
  const other = connect();
  const first = present("the lock of A", await client.lock(name, { leaseTime: "5s", owner: "A" }));
  expect("the lock of B", await other.lock(name, { owner: "B" }), undefined);
  const held = await client.listLocks({ namePrefix: name }).all();
  expect(
    "the list",
    held.map(({ fencingToken }) => fencingToken),
    [first.fencingToken],
  );

  const waiting = other.lock(name, { leaseTime: "5s", owner: "B", wait: "15s" });
  await first.release();
  const second = present("the lock of B after A released it", await waiting);
  expectThat(second.fencingToken > first.fencingToken, "expected a larger token of B than of A");

  await client.breakLock(name, { reason: "scenario" });
  const lost = new Promise<string>((resolve) => {
    second.signal.addEventListener("abort", () => resolve("lost"), { once: true });
    if (second.signal.aborted) resolve("lost");
    setTimeout(() => resolve("not told within 10 s"), 10_000).unref();
  });
  expect("what B is told", await lost, "lost");
  const check = async (lock: Lock) => lock.signal.throwIfAborted();
  expect("its reason", (await expectError("the check of B", AbortedError, check(second))).reason, "LOCK_LOST");

  const third = present("the lock of A again", await client.lock(name, { owner: "A" }));
  expectThat(third.fencingToken > second.fencingToken, "expected a larger token of A than of B");
  await third.release();
  expect("the list at the end", await client.listLocks({ namePrefix: name }).all(), []);
});
