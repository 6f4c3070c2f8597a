import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import Koa from 'koa';
import { expect, it, onTestFinished } from 'vitest';
import { listen } from '../../src/http/server.js';
import { eventually } from '../support/eventually.js';

async function serve(app: Koa, timeoutMs = 10_000, sendTimeoutMs = 10_000): Promise<number> {
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
      sendTimeoutMs,
    },
    {
      metrics: { began() {}, answered() {}, refused() {} },
      log: { debug() {}, info() {}, warn() {}, error() {} },
    },
  );
  onTestFinished(() => server.close(0));
  return server.port;
}

it('closes a connection with more than 32 open requests, and ends them all', async () => {
  const app = new Koa();
  let begun = 0;
  let ended = 0;
  app.use(({ res }) => {
    begun += 1;
    res.once('close', () => {
      ended += 1;
    });
    return new Promise<void>(() => {});
  });
  const port = await serve(app);
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined).resume();
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(1_000));
  await once(socket, 'close');
  await eventually(() => expect(ended).toBe(32));
  expect(begun).toBe(32);
});

it('answers pipelined requests in their order, with their bodies', async () => {
  const app = new Koa();
  app.use(async (context) => {
    const body = await text(context.req);
    // The first of them takes the longest.
    await sleep(Math.max(1, 20 - 5 * Number(body.length)));
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

it('reads a pipelined body that is still to come behind other requests', async () => {
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

it('keeps a client that reads a large answer slowly, though the answer is one write', async () => {
  const bytes = 2 ** 25;
  const app = new Koa();
  app.use((context) => {
    context.body = Buffer.alloc(bytes);
  });
  const socket = connect(await serve(app, 10_000, 1_000), '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  socket.write(GET);
  let received = 0;
  for await (const piece of socket) {
    received += piece.length;
    if (received > bytes) break;
    await sleep(5);
  }
  expect(received).toBeGreaterThan(bytes);
});
