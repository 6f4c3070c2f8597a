import { AppError } from '../../shared/errors.js';
import type { PinnedFile } from '../manifest.js';
import { type HeaderFields, headerOf } from './faults.js';
import { sizeFault } from './placeholder.js';

/** A `Content-Range`: `bytes start-end/total`; a 416 answer has a star in place of start and end. */
export interface ContentRange {
  readonly start: number | undefined;
  readonly end: number | undefined;
  /** Size of the whole file, where the server knows it. */
  readonly total: number | undefined;
}

/** Reads a `Content-Range`; `undefined` for none and for what cannot be read. */
export function contentRangeOf(headers: HeaderFields): ContentRange | undefined {
  const match = /^bytes\s+(?:(\d+)-(\d+)|\*)\/(\d+|\*)$/i.exec(
    headerOf(headers, 'content-range')?.trim() ?? '',
  );
  if (!match) return undefined;
  const [, start, end, total] = match;
  return { start: numberOf(start), end: numberOf(end), total: numberOf(total) };
}

/** The announced length of the body, in bytes. */
export function contentLengthOf(headers: HeaderFields): number | undefined {
  return numberOf(headerOf(headers, 'content-length'));
}

/** An entity tag that promises identity byte by byte; a weak one (`W/"…"`) does not. */
export function strongEtagOf(headers: HeaderFields): string | undefined {
  const etag = headerOf(headers, 'etag');
  return etag !== undefined && /^"[^"]*"$/.test(etag) ? etag : undefined;
}

/**
 * Compares what the hub says of a file (its size, and its sha256 if it is a large one) with the pins, before a
 * byte of it is downloaded.
 * @throws AppError `source_wrong_bytes`
 */
export function checkLinked(headers: HeaderFields, file: PinnedFile, place: string): void {
  const size = numberOf(headerOf(headers, 'x-linked-size'));
  if (size !== undefined && size !== file.size) throw sizeFault(place, size, file.size);
  const etag = /^(?:W\/)?"([0-9a-f]{64})"$/.exec(headerOf(headers, 'x-linked-etag') ?? '')?.[1];
  if (etag !== undefined && etag !== file.sha256) {
    throw new AppError(
      'source_wrong_bytes',
      `${place}: announced sha256 is ${etag}, pinned is ${file.sha256}`,
    );
  }
}

/** @throws AppError `source_wrong_bytes` for a body that is not the file's plain bytes */
export function refuseEncoded(headers: HeaderFields, place: string): void {
  const encoding = headerOf(headers, 'content-encoding') ?? 'identity';
  if (encoding.trim().toLowerCase() === 'identity') return;
  throw new AppError('source_wrong_bytes', `${place}: sent with Content-Encoding, though none was asked for`);
}

function numberOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,15}$/.test(text)) return undefined;
  return Number(text);
}
