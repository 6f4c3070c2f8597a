import type { LookupFunction } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createArchiveSource } from '../../../src/cache/sources/archive.js';
import { createMirrorSource } from '../../../src/cache/sources/files.js';
import type { HttpSource, SourceEvent, WireLimits, WireParts } from '../../../src/cache/sources/retry.js';
import { CERTIFICATE } from '../../support/certificate.js';
import { pin } from '../../support/content.js';
import { Origin, type OriginOptions } from '../../support/origin.js';
import { startProxy } from '../../support/proxy.js';
import { tarOf } from '../../support/tar.js';
import { FAST, faultOf, fetchOne } from './collect.js';

const content = Buffer.from('{"hidden_size":384}');
const file = pin('config.json', content);
const SECRET = 's3cret';

async function origin(options: OriginOptions = {}): Promise<Origin> {
  const started = await Origin.start(options);
  onTestFinished(() => started.close());
  started.put('/config.json', content);
  return started;
}

async function proxy() {
  const started = await startProxy();
  onTestFinished(() => started.close());
  return { ...started, withPassword: started.url.replace('//', `//me:${SECRET}@`) };
}

const events: SourceEvent[] = [];

function mirror(
  url: string,
  parts: WireParts = {},
  { token, ...limits }: Partial<WireLimits> & { token?: string } = {},
): HttpSource {
  events.length = 0;
  const source = createMirrorSource(
    {
      url,
      token,
      repo: 'a/b',
      revision: 'c',
      layout: 'plain',
      limits: { ...FAST, ...limits },
      onEvent: (event) => events.push(event),
    },
    parts,
  );
  onTestFinished(() => source.close());
  return source;
}

describe('a proxy', () => {
  const basic = `Basic ${Buffer.from(`me:${SECRET}`).toString('base64')}`;

  it('opens a tunnel to an https host, with its password, which the host never sees', async () => {
    const [server, between] = [await origin({ tls: CERTIFICATE }), await proxy()];
    const source = mirror(server.url, { env: { HTTPS_PROXY: between.withPassword }, ca: CERTIFICATE.cert });
    expect((await fetchOne(source, file)).bytes).toEqual(content);
    expect(between.log).toEqual([{ asked: `CONNECT 127.0.0.1:${server.port}`, authorization: basic }]);
    expect(JSON.stringify(server.requests[0]?.headers)).not.toContain(basic);
  });

  it('passes plain requests on', async () => {
    const [server, between] = [await origin(), await proxy()];
    const url = server.url.replace('//', '//user:pw@');
    await fetchOne(mirror(url, { env: { http_proxy: between.withPassword } }), file);
    expect(between.log).toEqual([{ asked: `GET ${server.url}/config.json`, authorization: basic }]);
    expect(server.requests[0]?.headers).toMatchObject({
      host: `127.0.0.1:${server.port}`,
      authorization: `Basic ${Buffer.from('user:pw').toString('base64')}`,
    });
  });

  it.each([
    ['HTTP_PROXY', 'NO_PROXY'],
    ['http_proxy', 'no_proxy'],
  ])('named by %s is asked, and not for mirrors in %s', async (named, excluded) => {
    const [server, between] = [await origin(), await proxy()];
    await fetchOne(mirror(server.url, { env: { [named]: between.url } }), file);
    expect(between.log).toHaveLength(1);
    await fetchOne(mirror(server.url, { env: { [named]: between.url, [excluded]: '127.0.0.0/8' } }), file);
    expect(between.log).toHaveLength(1);
    expect(server.requests).toHaveLength(2);
  });

  it('that wants a password is named, and the setting', async () => {
    const [server, between] = [await origin({ tls: CERTIFICATE }), await proxy()];
    between.refuse(407);
    const fault = await faultOf(
      fetchOne(mirror(server.url, { env: { https_proxy: between.withPassword } }), file),
    );
    expect(fault.code).toBe('source_unreachable');
    expect(fault.message).toMatch(/answered 407 to CONNECT; put user and password into HTTPS_PROXY/);
    expect(JSON.stringify([fault.message, fault.stack, String(fault.cause), events])).not.toContain(SECRET);
  });

  it('that is gone is unreachable', async () => {
    const [server, between] = [await origin({ tls: CERTIFICATE }), await proxy()];
    await between.close();
    const source = mirror(server.url, { env: { https_proxy: between.url } });
    expect(await faultOf(fetchOne(source, file))).toMatchObject({
      code: 'source_unreachable',
      message: expect.stringContaining('ECONNREFUSED'),
    });
  });

  it.each(['http://169.254.169.254/latest', 'http://metadata.google.internal/'])(
    'is not asked for %s, wherever a redirect leads',
    async (location) => {
      const [server, between] = [await origin(), await proxy()];
      server.redirect('/config.json', location);
      const source = mirror(server.url, { env: { http_proxy: between.url } });
      expect((await faultOf(fetchOne(source, file))).code).toBe('source_refused');
      expect(between.log).toHaveLength(1);
    },
  );
});

describe('a mirror that wants a key', () => {
  it('gets the token, and no other host does', async () => {
    const [server, other] = [await origin(), await origin({ host: '127.0.0.2' })];
    server.redirect('/config.json', `${other.url}/config.json`);
    await fetchOne(mirror(server.url, {}, { token: SECRET }), file);
    expect(server.requests[0]?.headers.authorization).toBe(`Bearer ${SECRET}`);
    expect(other.requests[0]?.headers.authorization).toBeUndefined();
  });

  it('gets the token for an archive', async () => {
    const server = await origin();
    server.put('/a.tar', tarOf({ 'config.json': content }));
    const source = createArchiveSource({ url: `${server.url}/a.tar`, token: SECRET, limits: FAST });
    onTestFinished(() => source.close());
    await fetchOne(source, file);
    expect(server.requests[0]?.headers.authorization).toBe(`Bearer ${SECRET}`);
  });

  it('gets the user and password of its URL instead, where there are some', async () => {
    const server = await origin();
    await fetchOne(mirror(server.url.replace('//', '//me:pw@'), {}, { token: SECRET }), file);
    expect(server.requests[0]?.headers.authorization).toMatch(/^Basic /);
  });

  it('gets that password as a token when it asks for one, as this program does', async () => {
    const server = await origin();
    server.fault('/config.json', { kind: 'status', status: 401, headers: { 'www-authenticate': 'Bearer' } });
    const source = mirror(server.url.replace('//', `//x:${SECRET}@`));
    expect((await fetchOne(source, file)).bytes).toEqual(content);
    await fetchOne(source, file);
    expect(server.requests.slice(1).map(({ headers }) => headers.authorization)).toEqual(
      Array(2).fill(`Bearer ${SECRET}`),
    );
  });

  it('is asked once more, not for ever', async () => {
    const server = await origin();
    server.faultAlways('*', { kind: 'status', status: 401, headers: { 'www-authenticate': 'Bearer' } });
    const fault = await faultOf(fetchOne(mirror(server.url.replace('//', `//x:${SECRET}@`)), file));
    expect(fault.code).toBe('source_unauthorized');
    expect(server.requests).toHaveLength(2);
  });
});

describe('a certificate', () => {
  it('of an unknown authority says so, and how to trust it', async () => {
    const server = await origin({ tls: CERTIFICATE });
    const fault = await faultOf(fetchOne(mirror(server.url), file));
    expect(fault.message).toMatch(/certificate.*NODE_EXTRA_CA_CERTS.*TLS/);
  });

  it('for another name says so', async () => {
    const server = await origin({ tls: CERTIFICATE });
    const lookup = lookupOf([['127.0.0.1', 4]]);
    const source = mirror(`https://other.test:${server.port}`, { ca: CERTIFICATE.cert, lookup });
    expect((await faultOf(fetchOne(source, file))).message).toContain('its certificate is for another name');
  });

  it('is not expected of a server that speaks plain http', async () => {
    const server = await origin();
    const fault = await faultOf(fetchOne(mirror(server.url.replace('http:', 'https:')), file));
    expect(fault.message).toContain('try http://');
    expect(fault.message).not.toContain('OpenSSL');
  });
});

/** Answers each lookup with the next of these lists of addresses, the last one for good; an empty list never answers. */
function lookupOf(...answers: (readonly (readonly [string, 4 | 6])[])[]): LookupFunction {
  return (_, options, callback) => {
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (!answer || answer.length === 0) return;
    const all = answer.map(([address, family]) => ({ address, family }));
    if (typeof options === 'object' && options.all) return callback(null, all);
    callback(null, all[0]?.address ?? '', all[0]?.family);
  };
}

describe('a slow link', () => {
  it('with several addresses, one of them without a route, connects', async () => {
    const server = await origin();
    const lookup = lookupOf([
      ['2001:db8::1', 6],
      ['127.0.0.1', 4],
    ]);
    await fetchOne(mirror(`http://two.test:${server.port}`, { lookup }), file);
    expect(events).toEqual([]);
  });

  it('on which nothing came back in time is tried again', async () => {
    const server = await origin();
    const lookup = lookupOf([], [['127.0.0.1', 4]]);
    await fetchOne(mirror(`http://far.test:${server.port}`, { lookup }, { connectTimeoutMs: 200 }), file);
    expect(events).toMatchObject([{ reason: expect.stringContaining('no connection within 200 ms') }]);
  });

  it('without a route is tried again', async () => {
    const server = await origin();
    const lookup = lookupOf([['2001:db8::1', 6]], [['127.0.0.1', 4]]);
    await fetchOne(mirror(`http://far.test:${server.port}`, { lookup }), file);
    expect(events).toMatchObject([{ reason: expect.stringContaining('no route to it') }]);
  });
});

describe('a rate limit', () => {
  it('that a RateLimit field announces is waited for', async () => {
    const server = await origin();
    server.fault('*', { kind: 'status', status: 429, headers: { ratelimit: '"resolvers";r=0;t=1' } });
    await fetchOne(mirror(server.url), file);
    expect(events).toMatchObject([{ code: 'source_rate_limited', waitMs: 1_000 }]);
  });

  it('beyond the longest wait is left to a later attempt, which knows when', async () => {
    const server = await origin();
    server.faultAlways('*', { kind: 'status', status: 429, headers: { ratelimit: '"resolvers";r=0;t=200' } });
    expect(await faultOf(fetchOne(mirror(server.url), file))).toMatchObject({ retryAfterMs: 200_000 });
    expect(server.requests).toHaveLength(1);
  });

  it('without an announced wait is not tried again at once', async () => {
    const server = await origin();
    server.fault('*', { kind: 'status', status: 429 });
    await fetchOne(mirror(server.url, {}, { backoffBaseMs: 400, backoffCapMs: 400 }), file);
    expect(events[0]?.waitMs).toBeGreaterThanOrEqual(200);
  });
});
