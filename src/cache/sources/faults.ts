import { AppError, type ErrorCode, errnoOf, messageOf } from '../../shared/errors.js';
import { PRIVATE_ADDRESS } from './address.js';

/** Header fields of an answer, names in lower case. */
export type HeaderFields = Readonly<Record<string, string | string[] | undefined>>;

/** The value of a header field; of a repeated one, the first. */
export function headerOf(headers: HeaderFields, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : value?.[0];
}

/** Nobody is there; another attempt a second later would meet the same, another source may not. */
const DEAD_END = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  // Packets that vanish cost a full time-out each; what does not answer once rarely does so right after.
  'ETIMEDOUT',
]);

/** Whether the same source deserves another attempt after this failure, within one delivery. */
export function isWorthWaiting(error: AppError): boolean {
  return error.retryable && !DEAD_END.has(errnoOf(error.cause) ?? '');
}

/** The fault of an answer that is neither a file nor a redirect. `place` says which file, and from where. */
export function statusFault(status: number, headers: HeaderFields, place: string): AppError {
  const said = headerOf(headers, 'x-error-code');
  // The hub says "GatedRepo" and the like here; anything longer is not for the logs.
  const detail = said && /^[A-Za-z]{1,40}$/.test(said) ? ` (${said})` : '';
  const message = `${place}: answered ${status}${detail}`;
  if (status === 404 || status === 410) return new AppError('source_not_found', message);
  if (status === 401 || status === 403 || status === 407) return new AppError('source_unauthorized', message);
  if (status === 429) return withDelay('source_rate_limited', message, headers);
  if (status >= 500 || status === 408 || status === 425) {
    return withDelay('source_unreachable', message, headers);
  }
  return new AppError('source_refused', message);
}

/** The fault of a request that got no (usable) answer. */
export function connectFault(cause: unknown, place: string): AppError {
  const early = knownFault(cause);
  if (early) return early;
  const code = errnoOf(cause) ?? '';
  const message = `${place}: ${reasonOf(cause)}`;
  if (code === PRIVATE_ADDRESS) {
    return new AppError('source_refused', `${place}: redirects to a private address`, { cause });
  }
  if (isTlsFault(code)) return new AppError('source_unreachable', `${message} (TLS)`, { cause });
  return new AppError('source_unreachable', message, { retryable: true, cause });
}

/** The fault of a body that broke off. */
export function bodyFault(cause: unknown, place: string): AppError {
  const early = knownFault(cause);
  if (early) return early;
  return new AppError('source_truncated', `${place}: broke off (${reasonOf(cause)})`, {
    retryable: true,
    cause,
  });
}

/** A body that ended too early without an error on the wire. */
export function truncatedFault(place: string, got: number, wanted: number): AppError {
  return new AppError('source_truncated', `${place}: ended after ${got} of ${wanted} bytes`, {
    retryable: true,
  });
}

/** A server that is silent, or slower than allowed. */
export function stalledFault(place: string, detail: string): AppError {
  return new AppError('source_stalled', `${place}: ${detail}`, { retryable: true });
}

/** Somebody wants no more bytes. */
export function abortedFault(message = 'the download was stopped'): AppError {
  return new AppError('aborted', message);
}

/**
 * A `Retry-After` in milliseconds from `now` (epoch milliseconds): seconds or an HTTP date. A date in the past
 * is 0; what cannot be read is `undefined`.
 */
export function retryAfterMs(value: string | undefined, now = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  if (/^\s*\d{1,9}\s*$/.test(value)) return Number(value) * 1000;
  // Date.parse also reads things like "5.5" or "-1", which are no dates.
  if (!/^\s*[A-Za-z]{3,9},/.test(value)) return undefined;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}

function withDelay(code: ErrorCode, message: string, headers: HeaderFields): AppError {
  const delay = retryAfterMs(headerOf(headers, 'retry-after'));
  return new AppError(code, message, {
    retryable: true,
    ...(delay === undefined ? {} : { retryAfterMs: delay }),
  });
}

/** An abort's reason travels through the HTTP client as it is, or wrapped once. */
function knownFault(error: unknown): AppError | undefined {
  if (error instanceof AppError) return error;
  if (error instanceof Error && error.cause instanceof AppError) return error.cause;
  return undefined;
}

function reasonOf(error: unknown): string {
  // Of several addresses tried, none answered: the outer message is empty, the first inner one speaks.
  if (error instanceof AggregateError && error.errors.length > 0) return messageOf(error.errors[0]);
  return messageOf(error) || (errnoOf(error) ?? 'failed');
}

function isTlsFault(code: string): boolean {
  return (
    /^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|EPROTO)/.test(code) ||
    code === 'DEPTH_ZERO_SELF_SIGNED_CERT' ||
    code === 'SELF_SIGNED_CERT_IN_CHAIN' ||
    code === 'HOSTNAME_MISMATCH'
  );
}
