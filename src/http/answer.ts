import type { Context } from 'koa';

/** Answers JSON. Koa would look up its own media type for every object, and look for it again before it writes. */
export function answerJson(context: Context, body: object): void {
  context.set('Content-Type', 'application/json; charset=utf-8');
  context.body = JSON.stringify(body);
}
