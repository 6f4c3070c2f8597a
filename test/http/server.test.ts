import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { connect } from 'node:net';
import Koa from 'koa';
import { expect, it, onTestFinished } from 'vitest';
import { listen } from '../../src/http/server.js';

it('stops reading requests where a connection is cut, also those that came in the same read', async () => {
  const app = new Koa();
  const never = new Promise<void>(() => {});
  app.use(() => never);
  const server = await listen(
    app.callback(),
    0,
    '127.0.0.1',
    {
      maxConnections: 10,
      maxHeaderBytes: 16_384,
      headersTimeoutMs: 10_000,
      bodyTimeoutMs: 10_000,
      keepAliveMs: 10_000,
      sendTimeoutMs: 10_000,
    },
    { onRefusal: () => undefined, onFull: () => undefined },
  );
  onTestFinished(() => server.close(0));
  let parsed = 0;
  const count = (): void => {
    parsed += 1;
  };
  subscribe('http.server.request.start', count);
  onTestFinished(() => void unsubscribe('http.server.request.start', count));
  const socket = connect(server.port, '127.0.0.1');
  socket.on('error', () => undefined).resume();
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(1_000));
  await once(socket, 'close');
  expect(parsed).toBe(17);
});
