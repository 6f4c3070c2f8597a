import { Readable } from 'node:stream';
import { setImmediate as giveWay } from 'node:timers/promises';
import type { RequestContext } from './request.js';

/** The media type of JSON. */
export const JSON_UTF8 = 'application/json; charset=utf-8';

/** Characters of a large answer that are made at once: about a millisecond of this thread. */
const PIECE_CHARS = 65_536;

/** Answers JSON. Koa's own way asks whether the object is a `Response`, for which Node loads its HTTP client. */
export function sendJson(context: RequestContext, body: object): void {
  sendJsonText(context, JSON.stringify(body));
}

/** Answers what is JSON already. */
export function sendJsonText(context: RequestContext, json: string): void {
  context.set('Content-Type', JSON_UTF8);
  context.body = json;
}

/** Answers JSON whose parts are made one by one while it is sent, so that a large answer gives way to other requests. */
export function sendJsonParts(
  context: RequestContext,
  start: string,
  parts: Iterable<string>,
  end: string,
): void {
  context.set('Content-Type', JSON_UTF8);
  sendStream(context, Readable.from(piecesOf(start, parts, end)));
}

/** Answers a stream, which ends with the connection, whether or not the response ever had one. */
export function sendStream(context: RequestContext, stream: Readable): void {
  const { res } = context;
  if (res.destroyed) stream.destroy();
  else res.once('close', () => stream.destroy());
  context.body = stream;
}

/** Sets the entity tag, and answers 304 where `If-None-Match` names it, whatever `Cache-Control` says. */
export function isFresh(context: RequestContext, etag: string): boolean {
  context.set('ETag', etag);
  const opaque = (tag: string): string => tag.trim().replace(/^W\//, '');
  const known = context.get('if-none-match').split(',').map(opaque);
  if (!known.includes('*') && !known.includes(opaque(etag))) return false;
  context.status = 304;
  return true;
}

async function* piecesOf(start: string, parts: Iterable<string>, end: string): AsyncGenerator<string> {
  let piece = start;
  for (const part of parts) {
    piece += part;
    if (piece.length < PIECE_CHARS) continue;
    yield piece;
    piece = '';
    await giveWay();
  }
  yield piece + end;
}
