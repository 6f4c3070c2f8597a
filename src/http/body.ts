import type * as z from 'zod';
import { issuesOf } from '../api/schema.js';
import { AppError, messageOf } from '../shared/errors.js';
import type { ByteBudget } from './gates.js';
import { type RequestContext, truncate } from './request.js';

/** Faults that an answer names: a request may have thousands. */
const SHOWN_ISSUES = 50;

/** The rest of a body that is too large is read and dropped up to this many times the limit. */
const DRAINED = 16;

/** Bounds on a JSON body's structure: an item that is wrong takes 1.5 µs of the thread that answers, and its fault memory. */
export const JSON_LIMITS = { depth: 64, keys: 20_000, items: 40_000 } as const;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

/** Media types of JSON, as Koa matches them. */
export const JSON_TYPES = ['application/json', '+json'] as const;

/** Bounds on reading bodies. */
export interface BodyDeps {
  readonly limits: { readonly maxBodyBytes: number };
  readonly bytes: ByteBudget;
}

/**
 * Reads, decodes and validates a JSON body.
 * @throws AppError `unsupported_media_type`, `body_too_large`, `bad_request`, `overloaded`, `malformed_json`,
 *   `validation_failed` (with every wrong field)
 */
export async function readJson<Schema extends z.ZodType>(
  context: RequestContext,
  schema: Schema,
  deps: BodyDeps,
): Promise<z.output<Schema>> {
  requireType(context, JSON_TYPES, 'JSON with "Content-Type: application/json"');
  const bytes = await readBytes(context, deps);
  checkShape(bytes);
  const result = schema.safeParse(parse(decode(bytes)));
  if (!result.success) throw validationError(result.error);
  return result.data;
}

/**
 * Reads and decodes a body of one of some media types.
 * @param wanted completes "send …"
 * @returns the text, and which of `types` it is
 * @throws AppError `unsupported_media_type`, `body_too_large`, `bad_request`, `overloaded`, `malformed_json`
 */
export async function readText(
  context: RequestContext,
  types: readonly string[],
  wanted: string,
  deps: BodyDeps,
): Promise<{ readonly text: string; readonly type: string }> {
  const type = requireType(context, types, wanted);
  return { text: decode(await readBytes(context, deps)), type };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // The parser's message may repeat a piece of the text, which belongs in no log; its position does not.
    const [, position] = /at position (\d+)/.exec(messageOf(error)) ?? [];
    const where = position === undefined ? '' : ` (at character ${Number(position) + 1})`;
    throw new AppError('malformed_json', `the body is not JSON${where}`);
  }
}

function requireType(context: RequestContext, types: readonly string[], wanted: string): string {
  const encoding = context.get('content-encoding');
  if (encoding !== '' && encoding.toLowerCase() !== 'identity') {
    const message = `send the body without Content-Encoding, not "${truncate(encoding)}"`;
    throw new AppError('unsupported_media_type', message);
  }
  // As nearly every client sends it, without a parser of media types.
  const { 'content-type': plain, 'content-length': length } = context.req.headers;
  if (plain !== undefined && plain === types[0] && length !== undefined) return plain;
  const type = context.is([...types]);
  if (type) return type;
  const given = context.get('content-type');
  const instead = type === null ? '; there is no body' : given && `, not "${truncate(given)}"`;
  throw new AppError('unsupported_media_type', `send ${wanted}${instead}`);
}

/** Reads a body. Its bytes count as they arrive, so that announcing a body takes nothing from others. */
async function readBytes(context: RequestContext, { limits, bytes }: BodyDeps): Promise<Buffer> {
  const { req } = context;
  const max = limits.maxBodyBytes;
  const announced = Number(context.get('content-length') || Number.POSITIVE_INFINITY);
  const take = bytes.lease(context);
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const pieces: Buffer[] = [];
      let size = 0;
      const onData = (piece: Buffer): void => {
        size += piece.length;
        pieces.push(piece);
        try {
          if (size > max) throw tooLarge(max);
          take(piece.length);
        } catch (error) {
          reject(error);
        }
      };
      if (announced > max && announced !== Number.POSITIVE_INFINITY) return reject(tooLarge(max));
      req.on('data', onData);
      req.on('end', () => resolve(pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, size)));
      req.on('error', (cause) => reject(incomplete(cause)));
      // A request closes after its answer, too; making an error for it takes 4 % of this process's time.
      req.on('close', () => {
        if (!req.readableEnded) reject(incomplete('the connection was closed'));
      });
    });
  } catch (error) {
    // The rest is read and dropped: closing before it has come resets the connection, and the client never sees the
    // answer. Not so a body that may have no end.
    req.removeAllListeners('data').resume();
    if (!req.complete && announced > DRAINED * max) context.set('Connection', 'close');
    throw error;
  }
}

function tooLarge(max: number): AppError {
  return new AppError('body_too_large', `the body may have ${max} bytes at most (MAX_BODY_BYTES)`);
}

function incomplete(cause: unknown): AppError {
  return new AppError('bad_request', `the body is incomplete: ${messageOf(cause)}`, { cause });
}

function decode(bytes: Buffer): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new AppError('malformed_json', 'the body is not valid UTF-8', { cause });
  }
}

function validationError(error: z.ZodError): AppError {
  const all = issuesOf(error);
  const issues = all
    .slice(0, SHOWN_ISSUES)
    .map(({ path, message }) => ({ path: truncate(path), message: truncate(message) }));
  const [first] = issues;
  const where = first?.path ? `${first.path}: ` : '';
  const more = all.length > 1 ? ` (and ${all.length - 1} more)` : '';
  return new AppError('validation_failed', `${where}${first?.message}${more}`, { issues });
}

const QUOTE = 0x22;
const COLON = 0x3a;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const SQUARE = { open: 0x5b, close: 0x5d } as const;
const CURLY = { open: 0x7b, close: 0x7d } as const;

/**
 * Counts brackets, colons and commas outside of strings, without parsing; what is not JSON passes.
 * @throws AppError `bad_request` when it nests too deeply or has too many keys or items
 */
export function checkShape(bytes: Uint8Array): void {
  let depth = 0;
  let keys = 0;
  let items = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === QUOTE) at = endOfString(bytes, at);
    else if (byte === COLON) keys += 1;
    else if (byte === COMMA) items += 1;
    else if (byte === SQUARE.open || byte === CURLY.open) depth += 1;
    else if (byte === SQUARE.close || byte === CURLY.close) depth -= 1;
    else continue;
    if (depth > JSON_LIMITS.depth) {
      throw new AppError('bad_request', `the body is nested deeper than ${JSON_LIMITS.depth} levels`);
    }
    if (items > JSON_LIMITS.items) {
      throw new AppError('bad_request', `the body has more than ${JSON_LIMITS.items} items`);
    }
    if (keys > JSON_LIMITS.keys) {
      throw new AppError('bad_request', `the body has more than ${JSON_LIMITS.keys} keys`);
    }
  }
}

/** Where the string that opens at `start` closes, or the end of the bytes. */
function endOfString(bytes: Uint8Array, start: number): number {
  for (let quote = bytes.indexOf(QUOTE, start + 1); quote !== -1; quote = bytes.indexOf(QUOTE, quote + 1)) {
    let escapes = 0;
    while (bytes[quote - 1 - escapes] === BACKSLASH) escapes += 1;
    if (escapes % 2 === 0) return quote;
  }
  return bytes.length;
}
