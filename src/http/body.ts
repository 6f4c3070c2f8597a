import type { Context } from 'koa';
import rawBody from 'raw-body';
import type * as z from 'zod';
import { AppError, messageOf } from '../errors.js';
import { issuesOf } from '../validation.js';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

/** Media types of JSON, as Koa matches them. */
export const JSON_TYPES = ['application/json', '+json'] as const;

/**
 * Reads, decodes and validates a JSON body.
 * @throws AppError `unsupported_media_type`, `body_too_large`, `bad_request`, `malformed_json`,
 * `validation_failed` (with every faulty field)
 */
export async function readJson<Schema extends z.ZodType>(
  context: Context,
  schema: Schema,
  maxBytes: number,
): Promise<z.output<Schema>> {
  const { text } = await readText(
    context,
    JSON_TYPES,
    'JSON with "Content-Type: application/json"',
    maxBytes,
  );
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new AppError('malformed_json', `the body is not JSON: ${messageOf(cause)}`, { cause });
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
  const encoding = context.get('content-encoding');
  if (encoding !== '' && encoding !== 'identity') {
    throw new AppError('unsupported_media_type', `send the body without Content-Encoding, not "${encoding}"`);
  }
  const type = context.is([...types]);
  if (!type) {
    const given = context.get('content-type');
    throw new AppError('unsupported_media_type', `send ${wanted}${given && `, not "${given}"`}`);
  }
  return { text: decode(await readBytes(context, maxBytes)), type };
}

async function readBytes(context: Context, maxBytes: number): Promise<Buffer> {
  try {
    return await rawBody(context.req, { length: context.get('content-length') || null, limit: maxBytes });
  } catch (cause) {
    // What is left of the body is not read, so this connection has no further use.
    context.set('Connection', 'close');
    const type = cause instanceof Error && 'type' in cause ? cause.type : undefined;
    if (type === 'entity.too.large') {
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
  const issues = issuesOf(error);
  const [first] = issues;
  const where = first?.path ? `${first.path}: ` : '';
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  return new AppError('validation_failed', `${where}${first?.message}${more}`, { issues });
}
