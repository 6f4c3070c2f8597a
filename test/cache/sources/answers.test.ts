import { createServer, type Socket } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createMirrorSource } from '../../../src/cache/sources/files.js';
import { ENDLESS_MS } from '../../support/eventually.js';
import { listen } from '../../support/listen.js';
import { Origin } from '../../support/origin.js';
import { FAST, faultOf, fetchOne } from './collect.js';
import { content, file, PATH, useServer } from './server.js';

const server = useServer();

/** A server that writes whatever `answer` says, HTTP or not, when the first bytes of a connection have come. */
async function startRaw(answer: (socket: Socket) => void): Promise<string> {
  const sockets: Socket[] = [];
  const raw = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined).once('data', () => answer(socket));
  });
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    raw.close();
  });
  return `http://127.0.0.1:${await listen(raw)}`;
}

describe('a server that answers', () => {
  it.each([
    [404, 'source_not_found'],
    [410, 'source_not_found'],
    [401, 'source_unauthorized'],
    [403, 'source_unauthorized'],
    [400, 'source_refused'],
    [204, 'source_refused'],
  ])('%i is asked once (%s)', async (status, code) => {
    server.origin.faultAlways(PATH, { kind: 'status', status });
    expect(await server.fail()).toMatchObject({ code, retryable: false });
    expect(server.origin.requests).toHaveLength(1);
  });

  it.each([
    [429, 'source_rate_limited'],
    [408, 'source_unreachable'],
    [500, 'source_unreachable'],
    [503, 'source_unreachable'],
  ])('%i is asked again, a few times (%s)', async (status, code) => {
    server.origin.faultAlways(PATH, { kind: 'status', status });
    expect(await server.fail()).toMatchObject({ code, retryable: true });
    expect(server.origin.requests).toHaveLength(3);
  });

  it('503 once is forgiven', async () => {
    server.origin.fault(PATH, { kind: 'status', status: 503 });
    expect((await server.fetch()).bytes.equals(content)).toBe(true);
    expect(server.events).toMatchObject([{ code: 'source_unreachable', attempt: 1 }]);
    expect(server.events[0]?.reason).toContain('answered 503');
  });

  it('with Retry-After in seconds is given that time', async () => {
    server.origin.fault(PATH, { kind: 'status', status: 429, retryAfter: '1' });
    await server.fetch();
    const [first, second] = server.origin.requests;
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThan(990);
    expect(server.events[0]?.waitMs).toBe(1_000);
  });

  it('with Retry-After as a date is given that time', async () => {
    const date = new Date(Date.now() + 1_400).toUTCString();
    server.origin.fault(PATH, { kind: 'status', status: 503, retryAfter: date });
    await server.fetch();
    // The date has whole seconds.
    expect(server.events[0]?.waitMs).toBeGreaterThan(200);
    expect(server.events[0]?.waitMs).toBeLessThanOrEqual(1_400);
  });

  it('with a Retry-After beyond the cap is left at once', async () => {
    server.origin.faultAlways(PATH, { kind: 'status', status: 429, retryAfter: '3600' });
    expect(await server.fail()).toMatchObject({
      code: 'source_rate_limited',
      retryable: true,
      retryAfterMs: 3_600_000,
    });
    expect(server.origin.requests).toHaveLength(1);
  });

  it('nothing at all is unreachable', async () => {
    server.origin.faultAlways(PATH, { kind: 'cut' });
    expect(await server.fail()).toMatchObject({ code: 'source_unreachable', retryable: true });
    expect(server.origin.requests).toHaveLength(3);
  });

  it('something that is not HTTP is unreachable', async () => {
    const url = await startRaw((socket) => socket.end('220 mail.example.org ESMTP\r\n'));
    const fault = await faultOf(fetchOne(server.source({}, url), file));
    expect(fault.code).toBe('source_unreachable');
  });

  it('headers without end is left', async () => {
    const url = await startRaw((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\n${'x-filler: '.padEnd(100, 'x')}\r\n`.repeat(1_000));
    });
    const fault = await faultOf(fetchOne(server.source({ attempts: 1 }, url), file));
    expect(fault.code).toBe('source_unreachable');
  });
});

describe('a server that cannot be reached', () => {
  it('is not waited for when it refuses', async () => {
    const gone = await Origin.start();
    await gone.close();
    const fault = await faultOf(fetchOne(server.source({ backoffBaseMs: 10_000 }, gone.url), file));
    expect(fault).toMatchObject({ code: 'source_unreachable', retryable: true });
    expect(fault.message).toContain('ECONNREFUSED');
    expect(server.events).toHaveLength(0);
  });

  it('is not waited for when its name is unknown', async () => {
    const lookup = (
      _: string,
      __: unknown,
      callback: (error: NodeJS.ErrnoException | null, address: string) => void,
    ) => callback(Object.assign(new Error('getaddrinfo ENOTFOUND cdn.test'), { code: 'ENOTFOUND' }), '');
    const options = { url: 'http://cdn.test/', repo: 'a/b', revision: 'c', limits: FAST };
    const source = createMirrorSource(options, { lookup });
    onTestFinished(() => source.close());
    expect(await faultOf(fetchOne(source, file))).toMatchObject({
      code: 'source_unreachable',
      message: expect.stringContaining('ENOTFOUND'),
    });
  });

  it('is not waited for when nothing comes back', async () => {
    const options = { url: 'http://void.test/', repo: 'a/b', revision: 'c' };
    const limits = { ...FAST, connectTimeoutMs: 100, headersTimeoutMs: ENDLESS_MS };
    // The wait for a name counts as part of the connection.
    const source = createMirrorSource({ ...options, limits }, { lookup: () => undefined });
    onTestFinished(() => source.close());
    expect((await faultOf(fetchOne(source, file))).message).toContain('no connection within 100 ms');
  });
});
