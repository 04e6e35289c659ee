import { invalidField } from "./errors.js";

/** A text, or `INVALID_FIELD`. */
export function text(value: unknown, field: string): string {
  if (typeof value === "string") return value;
  throw invalidField(field, `${shown(value)} is no text`);
}

/** True or false, or `INVALID_FIELD`. */
export function flag(value: unknown, field: string): boolean {
  if (typeof value === "boolean") return value;
  throw invalidField(field, `${shown(value)} is neither true nor false`);
}

/** A number without a fraction that fits into 32 bits, or `INVALID_FIELD`. */
export function whole(value: unknown, field: string): number {
  if (Number.isInteger(value) && Math.abs(value as number) < 2 ** 31) return value as number;
  throw invalidField(field, `${shown(value)} is no whole number`);
}

/** A number, or `INVALID_FIELD`. */
export function number(value: unknown, field: string): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw invalidField(field, `${shown(value)} is no number`);
}

/** An object whose values are texts, or `INVALID_FIELD` that names the entry. */
export function texts(value: unknown, field: string): Record<string, string> {
  const entries = Object.entries(object(value, field));
  for (const [name, entry] of entries) text(entry, `${field}.${name}`);
  return Object.fromEntries(entries) as Record<string, string>;
}

/** An array, or `INVALID_FIELD`. */
export function list<Item>(value: readonly Item[], field: string): readonly Item[] {
  if (Array.isArray(value)) return value;
  throw invalidField(field, `${shown(value)} is no array`);
}

/** An object that is no array, or `INVALID_FIELD`. */
export function object<Value extends object>(value: Value | unknown, field: string): Value {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Value;
  throw invalidField(field, `${shown(value)} is no object`);
}

/** A check for where a value may be left out. */
export function optional<Value>(
  value: unknown,
  field: string,
  check: (value: unknown, field: string) => Value,
): Value | undefined {
  return value === undefined ? undefined : check(value, field);
}

/** A value in a message: short, whatever it is. */
function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}..` : value);
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object" && value !== null) return "an object";
  return typeof value === "function" ? "a function" : String(value);
}
