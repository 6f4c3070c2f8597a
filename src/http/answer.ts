import { Readable } from 'node:stream';
import { setImmediate as breathe } from 'node:timers/promises';
import type { Context } from 'koa';

/** The media type of JSON, which is UTF-8 whatever is said. */
export const JSON_UTF8 = 'application/json; charset=utf-8';

/**
 * Answers JSON. Koa would look up its own media type for every object, look for it again before it writes, and ask of
 * the first object whether it is a `Response`, for which Node then loads its HTTP client, in 10 to 20 ms.
 */
export function answerJson(context: Context, body: object): void {
  answerJsonText(context, JSON.stringify(body));
}

/** The same for what is JSON already. */
export function answerJsonText(context: Context, json: string): void {
  context.set('Content-Type', JSON_UTF8);
  context.body = json;
}

/** Characters that are written at once of a large answer: about a millisecond of this thread. */
const PIECE_CHARS = 65_536;

/** Answers JSON whose parts are made one by one while it is sent, so that a large answer gives way to other requests. */
export function answerJsonPieces(
  context: Context,
  start: string,
  parts: Iterable<string>,
  end: string,
): void {
  context.set('Content-Type', JSON_UTF8);
  answerStream(context, Readable.from(piecesOf(start, parts, end)));
}

/** Answers a stream, which ends with the connection, whether or not the response ever had one. */
export function answerStream(context: Context, stream: Readable): void {
  const { res } = context;
  if (res.destroyed) stream.destroy();
  else res.once('close', () => stream.destroy());
  context.body = stream;
}

async function* piecesOf(start: string, parts: Iterable<string>, end: string): AsyncGenerator<string> {
  let piece = start;
  for (const part of parts) {
    piece += part;
    if (piece.length < PIECE_CHARS) continue;
    yield piece;
    piece = '';
    await breathe();
  }
  yield piece + end;
}
