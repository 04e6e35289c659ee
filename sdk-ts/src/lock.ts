import type { CallOptions } from "./client.js";
import type { Duration } from "./duration.js";
import { errorOfCode, HaulierError } from "./errors.js";
import type { Lock as LockMessage } from "./gen/haulier/v1/lock_pb.js";
import { FENCE_SHARE } from "./limits.js";
import { dateOf } from "./options.js";

/** A named lock as others see it. */
export interface LockInfo {
  readonly name: string;
  readonly owner: string | undefined;
  readonly fencingToken: number;
  readonly acquireTime: Date | undefined;
  /** When it is free unless it is renewed. */
  readonly expireTime: Date | undefined;
  readonly acquiredBy: string | undefined;
}

/** How to acquire a lock. */
export interface LockOptions {
  /** How long it is held unless it is renewed, 5 s to 10 min. @default "30s" */
  readonly leaseTime?: Duration;
  /** How long to wait while another holds it. @default not at all */
  readonly wait?: Duration | "forever";
  /** Who wants it, for people. @default none */
  readonly owner?: string;
  /** Secret of the owner: whoever asks with the same one gets the same lock and token again. @default fresh for each call */
  readonly ownerId?: string;
}

/** What proves that somebody holds a lock: to renew or release it elsewhere. */
export interface LockKey {
  readonly name: string;
  /** Secret of the owner. */
  readonly ownerId: string;
  readonly fencingToken: number;
}

/** What a held lock needs of its client. */
export interface LockCalls {
  /** Answers for how long it is held, counted from when the call was sent. */
  renew(call: CallOptions): Promise<number>;
  release(): Promise<boolean>;
}

/** For how long a lock is held. */
export interface LockTerm {
  /** Its lease time. */
  readonly leaseTimeMs: number;
  /** How long it is held from when the call was sent: longer than the lease time when the call had waited. */
  readonly heldMs: number;
  /** When the call was sent. */
  readonly sentAt: number;
}

/**
 * A lock that this program holds. It renews itself at a third of its lease time until it is released or lost.
 *
 * @example
 * ```ts
 * const lock = await client.lock("nightly-import", { wait: "10s" });
 * if (lock === undefined) return; // another program has it
 * try {
 *   await importAll({ signal: lock.signal, fence: lock.fencingToken });
 * } finally {
 *   await lock.release();
 * }
 * ```
 */
export class Lock implements AsyncDisposable {
  /** Name of the lock. */
  readonly name: string;
  /** Larger than that of every earlier holder: for fencing your own stores. */
  readonly fencingToken: number;
  readonly #lost = new AbortController();
  readonly #key: LockKey;
  readonly #calls: LockCalls;
  readonly #leaseTimeMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #until: number;
  /** Released or detached: not renewed any more. */
  #ended = false;

  /** @internal */
  constructor(key: LockKey, { leaseTimeMs, heldMs, sentAt }: LockTerm, calls: LockCalls) {
    this.name = key.name;
    this.fencingToken = key.fencingToken;
    this.#key = key;
    this.#calls = calls;
    this.#leaseTimeMs = leaseTimeMs;
    this.#until = sentAt + heldMs;
    this.#renewInTime();
  }

  /** Aborted when the lock is lost: broken, taken by another, or not renewed at 80 % of its lease time. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** Whether it is surely held. */
  get isHeld(): boolean {
    return !this.#ended && !this.signal.aborted && performance.now() < this.#fenceAt;
  }

  /** For how many milliseconds it is surely held, unless it is renewed, which it does by itself. */
  get timeLeftMs(): number {
    return this.isHeld ? this.#fenceAt - performance.now() : 0;
  }

  /** Releases it. Answers whether it was held until now. */
  async release(): Promise<boolean> {
    if (this.#ended) return false;
    this.#end();
    return this.#calls.release();
  }

  /** Leaves it held, but renews it no more: `client.renewLock` and `client.releaseLock` take what it answers. */
  detach(): LockKey {
    this.#end();
    return this.#key;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  #end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  get #fenceAt(): number {
    return this.#until - (1 - FENCE_SHARE) * this.#leaseTimeMs;
  }

  /** Renews it a third of the lease time after it was acquired or renewed. */
  #renewInTime(): void {
    this.#renewAfter(Math.max(0, this.#until - (this.#leaseTimeMs * 2) / 3 - performance.now()));
  }

  #renewAfter(ms: number): void {
    this.#timer = setTimeout(() => void this.#renew(), ms);
    if (typeof this.#timer === "object") this.#timer.unref?.();
  }

  async #renew(): Promise<void> {
    const sentAt = performance.now();
    const fenceAt = this.#fenceAt;
    const fence = setTimeout(() => this.#lose("could not be renewed in time"), Math.max(0, fenceAt - sentAt));
    try {
      const heldMs = await this.#calls.renew({ timeout: Math.max(1_000, Math.floor(this.#leaseTimeMs / 3)) });
      this.#until = sentAt + heldMs;
      if (!this.#ended && !this.signal.aborted) this.#renewInTime();
    } catch (error) {
      const isLost = error instanceof HaulierError && error.code === "ABORTED";
      if (isLost) this.#lose("was lost");
      else if (performance.now() >= fenceAt) this.#lose("could not be renewed in time");
      else if (!this.#ended && !this.signal.aborted) this.#renewAfter(Math.min(1_000, this.#leaseTimeMs / 12));
    } finally {
      clearTimeout(fence);
    }
  }

  #lose(how: string): void {
    if (this.#ended || this.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#lost.abort(
      errorOfCode(`the lock ${JSON.stringify(this.name)} ${how}`, { code: "ABORTED", reason: "LOCK_LOST" }),
    );
  }
}

export function lockInfoOf(lock: LockMessage): LockInfo {
  return {
    name: lock.name,
    owner: lock.owner || undefined,
    fencingToken: Number(lock.fencingToken),
    acquireTime: dateOf(lock.acquireTime),
    expireTime: dateOf(lock.expireTime),
    acquiredBy: lock.acquiredBy || undefined,
  };
}
