/**
 * A Koa middleware that tells what a message is about, and a small service that uses it. Without an answer in time the
 * service goes on as if there were no route: its users wait for a router no longer than it is worth.
 *
 *   node examples/koa-middleware.mjs
 *   curl -s localhost:8080/messages -H 'content-type: application/json' -d '{"text": "my card was charged twice"}'
 */
import Koa from 'koa';
import { ask } from './ask.mjs';

const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 2_000);
const MAX_BYTES = 100_000;

/** Puts the decision about the body's `text` into `ctx.state.decision`; `null` where there is none. */
export function byMeaning() {
  return async (ctx, next) => {
    const { text } = ctx.state.body;
    ctx.state.decision = await ask('/classify', { text }, AbortSignal.timeout(PATIENCE_MS)).catch((error) => {
      ctx.app.emit('error', error, ctx);
      return null;
    });
    await next();
  };
}

/** What is done with a message, by its route. */
const handlers = {
  account_billing: () => ({ reply: 'Our billing team looks into it.' }),
  weather: () => ({ reply: 'Look out of the window.' }),
};
const otherwise = () => ({ reply: 'Thank you, a person will answer.' });

const app = new Koa();
app.use(async (ctx, next) => {
  if (ctx.method !== 'POST' || ctx.path !== '/messages') return;
  ctx.state.body = await readJson(ctx);
  ctx.assert(typeof ctx.state.body?.text === 'string', 400, 'send {"text": "…"}');
  await next();
});
app.use(byMeaning());
app.use((ctx) => {
  const route = ctx.state.decision?.route ?? null;
  ctx.body = { route, ...(handlers[route] ?? otherwise)() };
});

const server = app.listen(Number(process.env.PORT ?? 8080), () => {
  console.log(`listening on http://localhost:${server.address().port}`);
});
process.once('SIGTERM', () => server.close());

async function readJson(ctx) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of ctx.req) {
    bytes += chunk.length;
    ctx.assert(bytes <= MAX_BYTES, 413);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    ctx.throw(400, 'the body is not JSON');
  }
}
