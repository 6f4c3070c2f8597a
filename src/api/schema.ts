import * as z from 'zod';
import { didYouMean } from '../shared/closest.js';
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

export const errorCode = z
  .enum(ERROR_CODES)
  .meta({ id: 'ErrorCode', description: 'Stable code for programs; the wording of messages may change' });

export const timestamp = z.string().meta({ format: 'date-time' });

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

type Fields = Readonly<Record<string, unknown>>;

/** A refinement: one of two fields must be there, and not both. */
export function either(one: string, other: string): [check: (body: Fields) => boolean, message: string] {
  const check = (body: Fields): boolean => (body[one] === undefined) !== (body[other] === undefined);
  return [check, `send either "${one}" or "${other}"`];
}

/** A refinement: two fields do not go together. */
export function notBoth(
  one: string,
  other: string,
  message: string,
): [check: (body: Fields) => boolean, fault: { path: string[]; message: string }] {
  return [(body) => body[one] === undefined || body[other] === undefined, { path: [one], message }];
}

const TYPES: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
  null: 'null',
};

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'boolean') return String(value);
  return (Array.isArray(value) ? TYPES.array : TYPES[typeof value]) ?? typeof value;
}

function oneOf(values: readonly string[]): string {
  const last = values.at(-1) ?? '';
  return values.length > 1 ? `${values.slice(0, -1).join(', ')} or ${last}` : last;
}

/** Of a value that has the type of one form at least: {@link issuesOf} says what is wrong with it there. */
const OTHER_FORM = 'has another form than it should';

// Schemas say in their own words what is not plain; for all else these take the place of the library's.
z.config({ customError: wordsOf });

function wordsOf(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return mustBe([TYPES[issue.expected] ?? issue.expected], issue.input);
    case 'invalid_value':
      return `must be ${oneOf(issue.values.map((value) => JSON.stringify(value)))}`;
    case 'invalid_union': {
      if (Array.isArray(issue.options))
        return `must be ${oneOf(issue.options.map((each) => JSON.stringify(each)))}`;
      if (fittingForm(issue.errors)) return OTHER_FORM;
      const types = issue.errors.map(([first]) => (first?.code === 'invalid_type' ? first.expected : ''));
      return mustBe([...new Set(types.map((type) => TYPES[type] ?? 'another value'))], issue.input);
    }
    case 'unrecognized_keys': {
      const [key = '', ...more] = issue.keys;
      const known = issue.inst instanceof z.ZodObject ? Object.keys(issue.inst.shape) : [];
      return `is no field that is known here${more.length > 0 ? '' : didYouMean(key, known)}`;
    }
    case 'invalid_key':
      return `holds a name that is refused: it ${issue.issues[0]?.message}`;
    case 'too_small':
      if (issue.origin === 'number') return `must be ${issue.minimum} or more`;
      if (issue.minimum === 1)
        return issue.origin === 'string' ? 'must not be empty' : 'must hold one item at least';
      return `${sizeOf(issue.origin, issue.minimum)} at least`;
    case 'too_big':
      if (issue.origin === 'number') return `must be ${issue.maximum} or less`;
      return `${sizeOf(issue.origin, issue.maximum).replace('must', 'may')} at most`;
    default:
      return undefined;
  }
}

function mustBe(types: readonly string[], input: unknown): string {
  if (input === undefined) return `is missing; it must be ${oneOf(types)}`;
  const not = typeof input === 'number' && types.includes('a whole number') ? input : typeOf(input);
  return `must be ${oneOf(types)}, not ${not}`;
}

function sizeOf(origin: string, size: number | bigint): string {
  return origin === 'string' ? `must have ${size} characters` : `must hold ${size} items`;
}

/** The faults of the form whose type the value has, if there is one. */
function fittingForm(
  forms: readonly (readonly z.core.$ZodIssue[])[],
): readonly z.core.$ZodIssue[] | undefined {
  return forms.find(
    (faults) => !faults.some(({ code, path }) => code === 'invalid_type' && path.length === 0),
  );
}

/** The faults that a schema found, each with the path of its field (`files[0].size`). */
export function issuesOf({ issues }: { readonly issues: readonly z.core.$ZodIssue[] }): FieldIssue[] {
  return issues.flatMap((issue) => {
    const { path, message } = issue;
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({ path: pathOf([...path, key]), message }));
    if (issue.code === 'invalid_union' && message === OTHER_FORM) {
      const faults = fittingForm(issue.errors) ?? [];
      return issuesOf({ issues: faults.map((fault) => ({ ...fault, path: [...path, ...fault.path] })) });
    }
    return [{ path: pathOf(issue.code === 'invalid_key' ? path.slice(0, -1) : path), message }];
  });
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
