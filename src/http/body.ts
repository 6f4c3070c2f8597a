import type { Context } from 'koa';
import rawBody from 'raw-body';
import type * as z from 'zod';
import { parseLocatedJson } from '../routes/located-json.js';
import { AppError, messageOf } from '../shared/errors.js';
import { issuesOf } from '../shared/validation.js';
import { checkShape } from './json-shape.js';

/** Faults that an answer names, and how much of each it says: a request may have thousands, with long names. */
const SHOWN = { issues: 50, characters: 300 } as const;

/** Longest body that is read a second time to find where its JSON breaks, in characters. */
const EXPLAINED_CHARS = 65_536;

/** The rest of a body that is too large is read and dropped up to this many times the limit. */
const DRAINED = 16;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

const JSON_TYPE = 'application/json';

/** Media types of JSON, as Koa matches them. */
export const JSON_TYPES = [JSON_TYPE, '+json'] as const;

/**
 * Reads, decodes and validates a JSON body.
 * @throws what {@link readJsonText} and {@link parseJson} throw
 */
export async function readJson<Schema extends z.ZodType>(
  context: Context,
  schema: Schema,
  maxBytes: number,
): Promise<z.output<Schema>> {
  return parseJson(await readJsonText(context, maxBytes), schema);
}

/**
 * Reads and decodes a JSON body.
 * @throws AppError `unsupported_media_type`, `body_too_large`, `bad_request`, `malformed_json` when it is not UTF-8
 */
export async function readJsonText(context: Context, maxBytes: number): Promise<string> {
  requireIdentity(context);
  requireType(context, JSON_TYPES, 'JSON with "Content-Type: application/json"');
  const bytes = await readBytes(context, maxBytes);
  checkShape(bytes);
  return decode(bytes);
}

/**
 * Parses and validates what {@link readJsonText} read.
 * @throws AppError `malformed_json`, `validation_failed` (with every faulty field)
 */
export function parseJson<Schema extends z.ZodType>(text: string, schema: Schema): z.output<Schema> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // The parser's own message repeats a piece of the text, which belongs into no log.
    throw new AppError('malformed_json', `the body is not JSON${whereBroken(text)}`);
  }
  const result = schema.safeParse(json);
  if (!result.success) throw validationError(result.error);
  return result.data;
}

/**
 * Reads and decodes a body of one of some media types.
 * @param wanted completes "send …"
 * @returns the text, and which of `types` it is
 * @throws AppError `unsupported_media_type`, `body_too_large`, `bad_request`, `malformed_json` when it is not UTF-8
 */
export async function readText(
  context: Context,
  types: readonly string[],
  wanted: string,
  maxBytes: number,
): Promise<{ readonly text: string; readonly type: string }> {
  requireIdentity(context);
  const type = requireType(context, types, wanted);
  return { text: decode(await readBytes(context, maxBytes)), type };
}

function requireIdentity(context: Context): void {
  const encoding = context.get('content-encoding');
  if (encoding === '' || encoding.toLowerCase() === 'identity') return;
  const message = `send the body without Content-Encoding, not "${brief(encoding)}"`;
  throw new AppError('unsupported_media_type', message);
}

function requireType(context: Context, types: readonly string[], wanted: string): string {
  const { 'content-type': given = '', 'content-length': length } = context.req.headers;
  // What clients send most often, with a body, needs no parsing.
  if (given === JSON_TYPE && length !== undefined && types.includes(given)) return given;
  const type = context.is([...types]);
  if (type) return type;
  const instead = type === null ? '; there is no body' : given && `, not "${brief(given)}"`;
  throw new AppError('unsupported_media_type', `send ${wanted}${instead}`);
}

/** The beginning of what a client sent, for a message to that client. */
export function brief(text: string): string {
  return text.length <= SHOWN.characters ? text : `${text.slice(0, SHOWN.characters)}…`;
}

function whereBroken(text: string): string {
  const parsed = text.length > EXPLAINED_CHARS ? undefined : parseLocatedJson(text);
  const fault = parsed?.ok === false ? parsed.faults[0] : undefined;
  if (!fault) return '';
  return ` (at character ${fault.offset + 1}): ${fault.message.replace(/^not JSON: /, '')}`;
}

async function readBytes(context: Context, maxBytes: number): Promise<Buffer> {
  try {
    return await rawBody(context.req, { length: context.get('content-length') || null, limit: maxBytes });
  } catch (cause) {
    const type = cause instanceof Error && 'type' in cause ? cause.type : undefined;
    const tooLarge = type === 'entity.too.large';
    // The rest of a body is let run through, lest closing before it has come resets the connection and the client
    // never sees the answer; but not of one that may have no end.
    const announced = Number(context.get('content-length') || Number.POSITIVE_INFINITY);
    if (!tooLarge || announced > DRAINED * maxBytes) context.set('Connection', 'close');
    if (tooLarge) {
      throw new AppError('body_too_large', `the body may have ${maxBytes} bytes at most (MAX_BODY_BYTES)`, {
        cause,
      });
    }
    throw new AppError('bad_request', `the body did not arrive whole: ${messageOf(cause)}`, { cause });
  }
}

function decode(bytes: Buffer): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new AppError('malformed_json', 'the body is not valid UTF-8', { cause });
  }
}

function validationError(error: z.ZodError): AppError {
  const issues = issuesOf(error)
    .slice(0, SHOWN.issues)
    .map(({ path, message }) => ({ path: brief(path), message: brief(message) }));
  const [first] = issues;
  const where = first?.path ? `${first.path}: ` : '';
  const more = error.issues.length > 1 ? ` (and ${error.issues.length - 1} more)` : '';
  return new AppError('validation_failed', `${where}${first?.message}${more}`, { issues });
}
