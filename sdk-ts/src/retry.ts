import { HaulierError } from "./errors.js";

/** The wait before the n-th repeat, from 0: doubling from `first` to `max`, 50 to 100 % of it. */
export function backoffMs(repeat: number, { first, max }: { readonly first: number; readonly max: number }): number {
  return Math.min(max, first * 2 ** Math.min(repeat, 30)) * (0.5 + Math.random() / 2);
}

/** Whether a repeat of the call may help: UNAVAILABLE, or RESOURCE_EXHAUSTED with the server's word on when. */
export function isRetryable(error: unknown): error is HaulierError {
  if (!(error instanceof HaulierError)) return false;
  return error.code === "UNAVAILABLE" || (error.code === "RESOURCE_EXHAUSTED" && error.retryDelayMs !== undefined);
}

/** The wait before a repeat: the backoff, and no less than the server asks for, with a jitter of up to a fifth. */
export function retryDelayMs(
  error: HaulierError,
  repeat: number,
  bounds: { readonly first: number; readonly max: number },
): number {
  return Math.max(backoffMs(repeat, bounds), (error.retryDelayMs ?? 0) * (1 + Math.random() / 5));
}

/** Waits; rejects with the signal's reason when that is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
