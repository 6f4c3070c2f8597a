import { AppError, errnoOf, messageOf } from '../../shared/errors.js';
import type { PinnedFile } from '../manifest.js';
import { PRIVATE_ADDRESS } from './address.js';

/** Header fields of an answer, names in lower case. */
export type HeaderFields = Readonly<Record<string, string | string[] | undefined>>;

/** The value of a header field; of a repeated one, the first. */
export function headerOf(headers: HeaderFields, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : value?.[0];
}

/** The announced length of the body, in bytes. */
export function contentLengthOf(headers: HeaderFields): number | undefined {
  return numberOf(headerOf(headers, 'content-length'));
}

/** A `Content-Range`: `bytes start-end/total`; a 416 answer has a star in place of start and end. */
export interface ContentRange {
  readonly start: number | undefined;
  readonly end: number | undefined;
  /** Size of the whole file, where the server knows it. */
  readonly total: number | undefined;
}

/** Reads a `Content-Range`; `undefined` for none and for one that cannot be read. */
export function contentRangeOf(headers: HeaderFields): ContentRange | undefined {
  const text = headerOf(headers, 'content-range')?.trim() ?? '';
  const match = /^bytes\s+(?:(\d+)-(\d+)|\*)\/(\d+|\*)$/i.exec(text);
  if (!match) return undefined;
  const [, start, end, total] = match;
  return { start: numberOf(start), end: numberOf(end), total: numberOf(total) };
}

/** An entity tag that promises identity byte by byte; a weak one (`W/"…"`) does not. */
export function strongEtagOf(headers: HeaderFields): string | undefined {
  const etag = headerOf(headers, 'etag');
  return etag !== undefined && /^"[^"]*"$/.test(etag) ? etag : undefined;
}

/**
 * Compares the size and sha256 that the hub announces of a file (sha256 of large ones only) with the pins, before a
 * byte of it is downloaded.
 * @throws AppError `source_wrong_bytes`
 */
export function checkLinked(headers: HeaderFields, file: PinnedFile, place: string): void {
  const size = numberOf(headerOf(headers, 'x-linked-size'));
  if (size !== undefined && size !== file.size) throw sizeFault(place, size, file.size);
  const etag = /^(?:W\/)?"([0-9a-f]{64})"$/.exec(headerOf(headers, 'x-linked-etag') ?? '')?.[1];
  if (etag !== undefined && etag !== file.sha256) {
    throw wrongBytes(`${place}: announced sha256 is ${etag}, pinned is ${file.sha256}`);
  }
}

/** @throws AppError `source_wrong_bytes` for a body that is not the file's plain bytes */
export function refuseEncoded(headers: HeaderFields, place: string): void {
  const encoding = headerOf(headers, 'content-encoding') ?? 'identity';
  if (encoding.trim().toLowerCase() === 'identity') return;
  throw wrongBytes(`${place}: sent with Content-Encoding, though none was asked for`);
}

/**
 * How long a server wants to be left alone, in milliseconds from `now` (epoch milliseconds): `Retry-After` (seconds or an
 * HTTP date; one in the past is 0), or the reset of a `RateLimit` (`"name";r=0;t=20`, or the older `reset=20`) or
 * `RateLimit-Reset` field. `undefined` where it does not say.
 */
export function retryDelayMs(headers: HeaderFields, now = Date.now()): number | undefined {
  const after = headerOf(headers, 'retry-after')?.trim() ?? '';
  if (/^\d{1,9}$/.test(after)) return Number(after) * 1000;
  // Date.parse also reads things like "5.5" or "-1", which are no dates.
  const at = /^[A-Za-z]{3,9},/.test(after) ? Date.parse(after) : Number.NaN;
  if (!Number.isNaN(at)) return Math.max(0, at - now);
  const reset =
    /(?:^|[;,\s])(?:t|reset)\s*=\s*(\d{1,9})\b/i.exec(headerOf(headers, 'ratelimit') ?? '')?.[1] ??
    /^\s*(\d{1,6})\s*$/.exec(headerOf(headers, 'ratelimit-reset') ?? '')?.[1];
  return reset === undefined ? undefined : Number(reset) * 1000;
}

/** The fault of an answer that is neither a file nor a redirect. `place` says which file, and from where. */
export function statusFault(status: number, headers: HeaderFields, place: string): AppError {
  const said = headerOf(headers, 'x-error-code');
  // The hub says "GatedRepo" and the like here; anything longer is not for the logs.
  const detail = said && /^[A-Za-z]{1,40}$/.test(said) ? ` (${said})` : '';
  const message = `${place}: answered ${status}${detail}`;
  if (status === 404 || status === 410) return new AppError('source_not_found', message);
  if (status === 401 || status === 403 || status === 407) return new AppError('source_unauthorized', message);
  const isTemporary = status >= 500 || status === 408 || status === 425;
  if (status !== 429 && !isTemporary) return new AppError('source_refused', message);
  const delay = retryDelayMs(headers);
  return new AppError(status === 429 ? 'source_rate_limited' : 'source_unreachable', message, {
    retryable: true,
    ...(delay !== undefined && { retryAfterMs: delay }),
  });
}

/** No server is there: another attempt a second later would meet the same, another source may not. */
const DEAD_END = new Set(['ECONNREFUSED', 'ENOTFOUND', 'ENETDOWN', 'EADDRNOTAVAIL']);

const EXTRA_CA = 'if it belongs to your own authority, set NODE_EXTRA_CA_CERTS to its certificate (PEM)';
const CONNECTION_FAULTS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'refuses connections',
  ENOTFOUND: 'its name is not found from here',
  EAI_AGAIN: 'name resolution does not answer',
  EHOSTUNREACH: 'no route to it',
  ENETUNREACH: 'no route to it',
  // The message says after which time.
  ETIMEDOUT: '',
  ECONNRESET: 'closed the connection without an answer',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: `its certificate comes from an unknown authority; ${EXTRA_CA}`,
  UNABLE_TO_GET_ISSUER_CERT: `its certificate comes from an unknown authority; ${EXTRA_CA}`,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: `its certificate comes from an unknown authority; ${EXTRA_CA}`,
  SELF_SIGNED_CERT_IN_CHAIN: `its certificate comes from an unknown authority; ${EXTRA_CA}`,
  DEPTH_ZERO_SELF_SIGNED_CERT: `its certificate is self-signed; ${EXTRA_CA}`,
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet; is the clock right?',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
  ERR_SSL_WRONG_VERSION_NUMBER: 'does not speak TLS; try http://',
  EPROTO: 'the TLS handshake failed; if it speaks no TLS, try http://',
  ERR_PROXY: 'the proxy opens no way to it',
};

/** Whether this failure is of a source's host as a whole, so that its other files would meet the same. */
export function isHostFault(error: unknown): boolean {
  return (
    error instanceof AppError &&
    error.code === 'source_unreachable' &&
    codeOf(error.cause) in CONNECTION_FAULTS
  );
}

/** Whether the same source deserves another attempt after this failure, within one delivery. */
export function isWorthRetrying(error: AppError): boolean {
  return error.retryable && !DEAD_END.has(codeOf(error.cause));
}

/** The fault of a request to `url` that got no (usable) answer. */
export function connectFault(cause: unknown, url: URL, label: string): AppError {
  const early = knownFault(cause);
  if (early) return early;
  const code = codeOf(cause);
  if (code === PRIVATE_ADDRESS) {
    return new AppError('source_refused', `${label} from ${url.host}: redirects to a private address`, {
      cause,
    });
  }
  const words = code === 'ERR_PROXY' ? messageOf(cause) : CONNECTION_FAULTS[code];
  const isTls = /^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|EPROTO|DEPTH_ZERO|SELF_SIGNED|HOSTNAME_)/.test(code);
  const message = words
    ? `${url.host}: ${words} (${isTls ? 'TLS, ' : ''}${code})`
    : `${url.host}: ${reasonOf(cause)}${isTls ? ' (TLS)' : ''}`;
  return new AppError('source_unreachable', message, { retryable: !isTls, cause });
}

/** The fault of a body that broke off. */
export function bodyFault(cause: unknown, place: string): AppError {
  return (
    knownFault(cause) ??
    new AppError('source_truncated', `${place}: broke off (${reasonOf(cause)})`, { retryable: true, cause })
  );
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

/** A download that is not wanted any more. */
export function abortedFault(message = 'the download was stopped'): AppError {
  return new AppError('aborted', message);
}

/** Bytes that are not those of the pinned file. */
export function wrongBytes(message: string, cause?: unknown): AppError {
  return new AppError('source_wrong_bytes', message, { cause });
}

/** A file with another sha256 (hex) than the pinned one. */
export function digestFault(place: string, actual: string, pinned: string): AppError {
  return wrongBytes(`${place}: sha256 is ${actual}, pinned is ${pinned}`);
}

/** A file of another size than the pinned one. */
export function sizeFault(place: string, actual: number, pinned: number): AppError {
  return wrongBytes(`${place}: ${actual} bytes, pinned are ${pinned}`);
}

/** A file that goes on beyond its pinned size. */
export function tooLargeFault(place: string, pinned: number, announced?: number): AppError {
  const actual = announced === undefined ? 'more' : `${announced} bytes, more`;
  return new AppError('source_too_large', `${place}: ${actual} than the pinned ${pinned} bytes`);
}

/** A body that is not pinned, and larger than what is read of it. */
export function overLimitFault(place: string, maxBytes: number): AppError {
  return new AppError('source_too_large', `${place}: more than ${maxBytes} bytes`);
}

/** How many first bytes of a file are enough to recognize a placeholder. */
export const HEAD_BYTES = 64;

/**
 * Recognizes what servers and repositories hand out in the place of a file: a Git LFS pointer, a web page (by its type,
 * where headers are given, or its first bytes). `place` says which file, and from where; `path` is the pinned path.
 */
export function placeholderFault(
  head: Uint8Array,
  path: string,
  place: string,
  headers: HeaderFields = {},
): AppError | undefined {
  const text = Buffer.from(head)
    .toString('latin1')
    .replace(/^\xef\xbb\xbf/, '');
  if (/^version https:\/\/git-lfs/.test(text)) {
    return wrongBytes(`${place}: a Git LFS pointer, not the file it stands for`);
  }
  const type = headerOf(headers, 'content-type') ?? '';
  const isPage =
    /^\s*<(!doctype\s+html|html[\s>])/i.test(text) ||
    /^\s*(text\/html|application\/xhtml\+xml)\b/i.test(type);
  return isPage && !/\.(x?html?|md)$/i.test(path)
    ? wrongBytes(`${place}: an HTML page, not the file`)
    : undefined;
}

/** An abort's reason travels through the HTTP client as it is, or wrapped once. */
function knownFault(error: unknown): AppError | undefined {
  if (error instanceof AppError) return error;
  return error instanceof Error && error.cause instanceof AppError ? error.cause : undefined;
}

function codeOf(error: unknown): string {
  return errnoOf(error) ?? '';
}

function reasonOf(error: unknown): string {
  // Of several addresses tried, none answered: the outer message is empty, the first inner one speaks.
  if (error instanceof AggregateError && error.errors.length > 0) return messageOf(error.errors[0]);
  return messageOf(error) || codeOf(error) || 'failed';
}

function numberOf(text: string | undefined): number | undefined {
  return text === undefined || !/^\d{1,15}$/.test(text) ? undefined : Number(text);
}
