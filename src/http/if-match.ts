import type { Context } from 'koa';
import { AppError } from '../shared/errors.js';

/**
 * The digests that a change was made from. A weak tag counts like a strong one: proxies that compress make the
 * one of the other, and these tags are digests of what is served, whatever became of its bytes on the way.
 * @throws AppError `precondition_required` without the header, and for `*`, which would write over anything
 */
export function requireIfMatch(context: Context): string[] {
  const header = context.get('if-match').trim();
  const tags = [...header.matchAll(/(?:W\/)?"([^"]*)"/g)].map(([, tag]) => tag ?? '');
  if (tags.length > 0) return tags;
  throw new AppError(
    'precondition_required',
    'send "If-Match" with the ETag of the routes that your change was made from' +
      (header === '' ? '' : `, in quotes, not ${header === '*' ? '"*"' : 'this'}`),
  );
}
