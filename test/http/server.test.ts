import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import Koa from 'koa';
import { expect, it, onTestFinished } from 'vitest';
import { listen } from '../../src/http/server.js';

async function serve(app: Koa, timeoutMs = 10_000): Promise<number> {
  const server = await listen(
    app.callback(),
    0,
    '127.0.0.1',
    {
      maxConnections: 10,
      maxHeaderBytes: 16_384,
      headersTimeoutMs: timeoutMs,
      bodyTimeoutMs: timeoutMs,
      keepAliveMs: 10_000,
      sendTimeoutMs: 10_000,
    },
    { onRefusal: () => undefined, onFull: () => undefined },
  );
  onTestFinished(() => server.close(0));
  return server.port;
}

it('stops reading requests where a connection is cut, also those that came in the same read', async () => {
  const app = new Koa();
  let begun = 0;
  app.use(() => {
    begun += 1;
    return new Promise<void>(() => {});
  });
  const port = await serve(app);
  let parsed = 0;
  const count = (): void => {
    parsed += 1;
  };
  subscribe('http.server.request.start', count);
  onTestFinished(() => void unsubscribe('http.server.request.start', count));
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined).resume();
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(1_000));
  await once(socket, 'close');
  expect(parsed).toBe(33);
  // Whoever waited for its turn never got it.
  await sleep(50);
  expect(begun).toBe(4);
});

it('answers pipelined requests in their order, four at once, with their bodies', async () => {
  const app = new Koa();
  let under = 0;
  let most = 0;
  app.use(async (context) => {
    under += 1;
    most = Math.max(most, under);
    const body = await text(context.req);
    // The first of them takes the longest.
    await sleep(Math.max(1, 20 - 5 * Number(body.length)));
    under -= 1;
    context.body = body;
  });
  const port = await serve(app);
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  const bodies = Array.from({ length: 20 }, (_, n) => 'x'.repeat(n + 1));
  socket.write(
    bodies
      .map((body) => `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
      .join(''),
  );
  let received = '';
  for await (const piece of socket.setEncoding('latin1')) {
    received += piece;
    if (received.endsWith(bodies.at(-1) as string)) break;
  }
  expect([...received.matchAll(/\r\n\r\n(x+)/g)].map(([, body]) => body)).toEqual(bodies);
  expect(most).toBe(4);
});

/** Sends and gives what came until the server closed, or `last` came. */
async function exchange(port: number, sent: string, last = ''): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  socket.write(sent);
  let received = '';
  for await (const piece of socket.setEncoding('latin1')) {
    received += piece;
    if (last !== '' && received.endsWith(last)) break;
  }
  return received;
}

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

it('reads a pipelined body that is still to come, whoever is before it', async () => {
  const app = new Koa();
  app.use(async (context) => {
    const { length } = await text(context.req);
    if (length === 0) await sleep(2_500);
    context.body = `read ${length}.`;
  });
  // Late would be a body after one second.
  const port = await serve(app, 500);
  const body = 'x'.repeat(1_000_000);
  const post = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const received = await exchange(port, GET.repeat(4) + post, 'read 1000000.');
  expect(received.match(/read \d+\./g)).toEqual([...Array<string>(4).fill('read 0.'), 'read 1000000.']);
});

it('refuses what is no HTTP after the answers to what came before it', async () => {
  const app = new Koa();
  app.use(async (context) => {
    await sleep(50);
    context.body = 'answered';
  });
  const received = await exchange(await serve(app), `${GET.repeat(6)}what is this?\r\n\r\n`);
  expect(received.match(/HTTP\/1.1 \d+/g)).toEqual([
    ...Array<string>(6).fill('HTTP/1.1 200'),
    'HTTP/1.1 400',
  ]);
});

it('begins nothing more for a connection that an answer has ended', async () => {
  const app = new Koa();
  let begun = 0;
  app.use(async (context) => {
    begun += 1;
    await sleep(20);
    context.set('Connection', 'close');
    context.body = 'the last';
  });
  expect(await exchange(await serve(app), GET.repeat(8))).toMatch(/^HTTP\/1.1 200/);
  await sleep(100);
  expect(begun).toBe(4);
});
