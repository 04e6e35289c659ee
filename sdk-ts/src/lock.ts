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
  /** How long to wait while another holds it; longer than 30 s is asked for again. @default not at all */
  readonly wait?: Duration;
  /** Who wants it, for people. @default none */
  readonly owner?: string;
}

/** What a held lock needs of its client. */
export interface LockCalls {
  renew(call: CallOptions): Promise<number>;
  release(): Promise<boolean>;
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
  readonly #lost = new AbortController();
  readonly #calls: LockCalls;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #leaseTimeMs: number;
  #until: number;
  #released = false;

  constructor(
    readonly name: string,
    /** Larger than that of every earlier holder: for fencing your own stores. */
    readonly fencingToken: number,
    leaseTimeMs: number,
    sentAt: number,
    calls: LockCalls,
  ) {
    this.#calls = calls;
    this.#leaseTimeMs = leaseTimeMs;
    this.#until = sentAt + leaseTimeMs;
    this.#renewAfter(leaseTimeMs / 3);
  }

  /** Aborted when the lock is lost: broken, taken by another, or not renewed at 80 % of its lease time. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** Releases it. Answers whether it was held until now. */
  async release(): Promise<boolean> {
    if (this.#released) return false;
    this.#released = true;
    clearTimeout(this.#timer);
    return this.#calls.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  #renewAfter(ms: number): void {
    this.#timer = setTimeout(() => void this.#renew(), ms);
    if (typeof this.#timer === "object") this.#timer.unref?.();
  }

  async #renew(): Promise<void> {
    const sentAt = performance.now();
    const fenceAt = this.#until - (1 - FENCE_SHARE) * this.#leaseTimeMs;
    const fence = setTimeout(() => this.#lose("could not be renewed in time"), Math.max(0, fenceAt - sentAt));
    try {
      const leaseTimeMs = await this.#calls.renew({ timeout: Math.max(1_000, Math.floor(this.#leaseTimeMs / 3)) });
      this.#leaseTimeMs = leaseTimeMs;
      this.#until = sentAt + leaseTimeMs;
      if (!this.#released && !this.signal.aborted) this.#renewAfter(leaseTimeMs / 3);
    } catch (error) {
      const isLost = error instanceof HaulierError && error.code === "ABORTED";
      if (isLost) this.#lose("was lost");
      else if (performance.now() >= fenceAt) this.#lose("could not be renewed in time");
      else if (!this.#released && !this.signal.aborted) this.#renewAfter(Math.min(1_000, this.#leaseTimeMs / 12));
    } finally {
      clearTimeout(fence);
    }
  }

  #lose(how: string): void {
    if (this.#released || this.signal.aborted) return;
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
