import { create } from "@bufbuild/protobuf";
import { type Duration as DurationMessage, DurationSchema } from "@bufbuild/protobuf/wkt";
import { invalidField } from "./errors.js";

/**
 * A length of time: a number of milliseconds, or a number with its unit.
 *
 * @example
 * ```ts
 * const timeouts: Duration[] = [1500, "1.5s", "10m", "2h", "7d"];
 * ```
 */
export type Duration = number | `${number}${"ms" | "s" | "m" | "h" | "d"}`;

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Reads a duration; throws `INVALID_FIELD` naming `field` for anything else. */
export function durationMs(duration: Duration, field: string): number {
  if (typeof duration === "number" && Number.isFinite(duration) && duration >= 0) return duration;
  const match = typeof duration === "string" ? /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(duration) : null;
  if (match?.[1] === undefined) {
    throw invalidField(field, `${JSON.stringify(duration)} is no duration: give milliseconds or a text such as "30s"`);
  }
  return Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS];
}

/** The message of a duration, if there is one. */
export function durationMessage(duration: Duration | undefined, field: string): DurationMessage | undefined {
  return duration === undefined ? undefined : durationOfMs(durationMs(duration, field));
}

/** The message of so many milliseconds. */
export function durationOfMs(ms: number): DurationMessage {
  const nanos = Math.round(ms * 1e6);
  const seconds = Math.floor(nanos / 1e9);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: nanos - seconds * 1e9 });
}

/** How many milliseconds a message means. */
export function msOfDuration(duration: DurationMessage): number {
  return Number(duration.seconds) * 1e3 + duration.nanos / 1e6;
}
