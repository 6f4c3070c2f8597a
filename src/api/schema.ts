import * as z from 'zod';
import { ERROR_CODES, type FieldIssue, GATES } from '../shared/errors.js';

/** A value that JSON can carry. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;

/** A JSON object. Those of a route set have no prototype, so that a key named `__proto__` is a key like any other. */
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** Read-only value of a schema: an answer does not change once it is made. */
export type Shape<S extends z.ZodType> = Frozen<z.output<S>>;

type Frozen<T> = T extends string | number | boolean | null | undefined
  ? T
  : T extends readonly (infer Item)[]
    ? readonly Frozen<Item>[]
    : // An object with any keys is a JsonObject already.
      string extends keyof T
      ? T
      : { readonly [Key in keyof T]: Frozen<T[Key]> };

/** A digest as answers name it. */
export const digest = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/)
  .meta({ id: 'Digest', description: 'A sha256, as `sha256:<hex>`' });

/** The name of an error. */
export const errorCode = z
  .enum(ERROR_CODES)
  .meta({ id: 'ErrorCode', description: 'Stable code for programs; the wording of messages may change' });

/** A point in time. */
export const timestamp = z.string().meta({ format: 'date-time' });

/** Any JSON object. */
export const jsonObject: z.ZodType<JsonObject> = z
  .record(z.string(), z.unknown())
  .meta({ id: 'JsonObject' }) as unknown as z.ZodType<JsonObject>;

/** A whole number from 0. */
export const count = z.int().min(0);

/**
 * A text that says something. Like JSON Schema's `maxLength`, it counts characters (code points), where a
 * JavaScript string counts some of them twice.
 * @param maxChars none: of any length
 * @param setting the one that the bound comes from, if it does
 */
export function textOf(maxChars = Number.POSITIVE_INFINITY, setting?: string) {
  const bound = `may have ${maxChars} characters at most${setting === undefined ? '' : ` (${setting})`}`;
  return z
    .string('must be a string')
    .refine((value) => fits(value, maxChars), bound)
    .refine((value) => value.trim() !== '', 'must not be empty')
    .meta({ minLength: 1, pattern: '\\S', ...(Number.isFinite(maxChars) && { maxLength: maxChars }) });
}

function fits(value: string, maxChars: number): boolean {
  if (value.length <= maxChars) return true;
  if (value.length > 2 * maxChars) return false;
  let chars = 0;
  for (const _ of value) chars += 1;
  return chars <= maxChars;
}

/** The faults that a schema found, each with the path of its field (`files[0].size`). */
export function issuesOf(error: z.ZodError): FieldIssue[] {
  return error.issues.map(({ path, message }) => ({ path: pathOf(path), message }));
}

/** The path of a field from its steps: `questions["two words"].criteria[2]`. */
export function pathOf(steps: readonly PropertyKey[]): string {
  return z.core.toDotPath([...steps]);
}

const fieldIssue = z
  .object({
    path: z.string().meta({ description: 'Path of the field, such as `texts[3]` or `routes[0].name`' }),
    message: z.string(),
    line: z.int().min(1).exactOptional(),
    column: z.int().min(1).exactOptional(),
  })
  .meta({ id: 'FieldIssue' });

/** Body of every error response: an RFC 9457 document. */
export const problemSchema = z
  .object({
    type: z.literal('about:blank'),
    title: z.string(),
    status: z.int().min(400).max(599),
    detail: z.string().meta({ description: 'What is wrong, and what to do about it' }),
    instance: z.string().meta({ description: 'The request id, as in `X-Request-Id` and the log' }),
    code: errorCode,
    gate: z.enum(GATES).exactOptional().meta({ description: 'Name of the limit that was reached, if any' }),
    errors: z.array(fieldIssue).exactOptional().meta({ description: 'All invalid fields' }),
  })
  .meta({ id: 'Problem', description: 'A problem document (RFC 9457)' });

/** See {@link problemSchema}. */
export type ProblemBody = Shape<typeof problemSchema>;
