/**
 * The Standard Schema interface (https://standardschema.dev): implemented by Zod, Valibot, ArkType and others. Copied, as its
 * authors recommend, so that the SDK depends on none of them.
 */
export interface StandardSchemaV1<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** What a Standard Schema says of a value. */
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: ReadonlyArray<StandardIssue> };

/** One thing that is wrong with a value. */
export interface StandardIssue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
}

/** A value that its schema refuses. */
export class SchemaError extends Error {
  override readonly name = "SchemaError";

  constructor(
    what: string,
    readonly issues: ReadonlyArray<StandardIssue>,
  ) {
    super(`${what} does not fit its schema: ${issues.slice(0, 20).map(sentence).join("; ")}`);
  }
}

/** The value as the schema gives it back. Throws {@link SchemaError} when it refuses. */
export async function validate<Output>(
  schema: StandardSchemaV1<unknown, Output>,
  value: unknown,
  what: string,
): Promise<Output> {
  const result = await schema["~standard"].validate(value);
  if (result.issues !== undefined) throw new SchemaError(what, result.issues);
  return result.value;
}

/** JSON Schema of what a schema accepts, where its library offers it (Standard JSON Schema). */
export function jsonSchemaOf(schema: StandardSchemaV1 | undefined): string | undefined {
  const standard = schema?.["~standard"] as
    | { readonly jsonSchema?: { readonly input?: (options: { target: string }) => unknown } }
    | undefined;
  try {
    const described = standard?.jsonSchema?.input?.({ target: "draft-2020-12" });
    return described === undefined ? undefined : JSON.stringify(described);
  } catch {
    return undefined; // a library may refuse types that JSON Schema cannot express; the schema is only shown to people
  }
}

function sentence(issue: StandardIssue): string {
  const path = issue.path?.map((part) => String(typeof part === "object" ? part.key : part)).join(".");
  return path ? `${path}: ${issue.message}` : issue.message;
}
