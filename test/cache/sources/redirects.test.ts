import type { LookupFunction } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createHubSource, createMirrorSource } from '../../../src/cache/sources/files.js';
import type { WireParts } from '../../../src/cache/sources/retry.js';
import { CERTIFICATE } from '../../support/certificate.js';
import { pin } from '../../support/content.js';
import { Origin, type OriginOptions } from '../../support/origin.js';
import { FAST, faultOf, fetchOne } from './collect.js';

const content = Buffer.from('{"hidden_size":384}');
const file = pin('config.json', content);

async function start(options: OriginOptions = {}): Promise<Origin> {
  const origin = await Origin.start(options);
  onTestFinished(() => origin.close());
  return origin;
}

function sourceAt(url: string, parts: WireParts = {}) {
  const options = { url, repo: 'a/b', revision: 'c', layout: 'plain', limits: FAST } as const;
  const source = createMirrorSource(options, parts);
  onTestFinished(() => source.close());
  return source;
}

describe('redirects', () => {
  /** `/config.json` → `/1` → `/2` → … → `/{count - 1}` → the file. */
  function chain(origin: Origin, count: number): void {
    origin.redirect('/config.json', count > 1 ? '/1' : '/file');
    for (let hop = 1; hop < count; hop += 1) {
      origin.redirect(`/${hop}`, hop === count - 1 ? '/file' : `/${hop + 1}`);
    }
    origin.put('/file', content);
  }

  it('are followed five times', async () => {
    const origin = await start();
    chain(origin, 5);
    expect((await fetchOne(sourceAt(origin.url), file)).bytes.equals(content)).toBe(true);
    expect(origin.requests).toHaveLength(6);
  });

  it('are not followed a sixth time', async () => {
    const origin = await start();
    chain(origin, 6);
    expect(await faultOf(fetchOne(sourceAt(origin.url), file))).toMatchObject({
      code: 'source_refused',
      retryable: false,
    });
    expect(origin.requests).toHaveLength(6);
  });

  it.each([301, 303, 307, 308])('with status %i are followed', async (status) => {
    const origin = await start();
    origin.put('/file', content);
    origin.redirect('/config.json', 'file', status);
    await fetchOne(sourceAt(origin.url), file);
  });

  it.each(['file:///etc/passwd', 'ftp://127.0.0.1/x', 'http://[broken/?X-Sig=s3cret', 'data:,x'])(
    'to %s are refused',
    async (location) => {
      const origin = await start();
      origin.redirect('/config.json', location);
      const fault = await faultOf(fetchOne(sourceAt(origin.url), file));
      expect(fault.code).toBe('source_refused');
      expect(fault.message).not.toContain('s3cret');
    },
  );

  it('without a Location are no answer', async () => {
    const origin = await start();
    origin.faultAlways('*', { kind: 'status', status: 302 });
    expect((await faultOf(fetchOne(sourceAt(origin.url), file))).code).toBe('source_refused');
  });

  it('keep the range', async () => {
    const origin = await start();
    origin.put('/file', content);
    origin.redirect('/config.json', '/file');
    expect(await fetchOne(sourceAt(origin.url), file, 5)).toMatchObject({ offset: 5 });
    expect(origin.requestsTo('/file')[0]?.headers.range).toBe('bytes=5-');
  });
});

describe('the token', () => {
  it('is dropped on another host, and not regained on the way back', async () => {
    const hub = await start();
    const other = await start({ host: '127.0.0.2' });
    const path = '/a/b/resolve/c/config.json';
    hub.redirect(path, `${other.url}/there`);
    other.redirect('/there', `${hub.url}/back`);
    hub.put('/back', content);
    const source = createHubSource({
      endpoint: hub.url,
      token: 'hf_secret',
      repo: 'a/b',
      revision: 'c',
      limits: FAST,
    });
    onTestFinished(() => source.close());
    await fetchOne(source, file);
    expect(hub.requestsTo(path)[0]?.headers.authorization).toBe('Bearer hf_secret');
    expect(other.requests[0]?.headers.authorization).toBeUndefined();
    expect(hub.requestsTo('/back')[0]?.headers.authorization).toBeUndefined();
  });

  it('is kept on its own host', async () => {
    const hub = await start();
    hub.redirect('/config.json', '/there');
    hub.put('/there', content);
    await fetchOne(sourceAt(hub.url.replace('//', '//me:secret@')), file);
    expect(hub.requestsTo('/there')[0]?.headers.authorization).toMatch(/^Basic /);
  });

  it('does not go to another port of the same host', async () => {
    const hub = await start();
    const other = await start();
    hub.redirect('/config.json', `${other.url}/there`);
    other.put('/there', content);
    await fetchOne(sourceAt(hub.url.replace('//', '//me:secret@')), file);
    expect(hub.requests[0]?.headers.authorization).toMatch(/^Basic /);
    expect(other.requests[0]?.headers.authorization).toBeUndefined();
  });

  it('is not taken from, or left in, a redirect', async () => {
    const hub = await start();
    hub.redirect('/config.json', `${hub.url.replace('//', '//other:password@')}/there`);
    hub.put('/there', content);
    await fetchOne(sourceAt(hub.url), file);
    expect(hub.requestsTo('/there')[0]?.headers.authorization).toBeUndefined();
  });
});

describe('private addresses', () => {
  // In these tests 127.0.0.1 plays a public address, and only 127.0.0.2 a private one.
  const isPrivate = (address: string) => address === '127.0.0.2';

  /** A resolver that gives one answer after the other, and stays with the last. */
  function resolver(answers: Record<string, string[]>): LookupFunction {
    return (hostname, options, callback) => {
      const list = answers[hostname] ?? [];
      const address = (list.length > 1 ? list.shift() : list[0]) ?? '';
      if (options.all) callback(null, [{ address, family: 4 }]);
      else callback(null, address, 4);
    };
  }

  it('are not reached by a redirect from a public origin', async () => {
    const origin = await start();
    const inside = await start({ host: '127.0.0.2' });
    inside.put('/secrets', content);
    origin.redirect('/config.json', `${inside.url}/secrets`);
    const fault = await faultOf(fetchOne(sourceAt(origin.url, { isPrivate }), file));
    expect(fault).toMatchObject({ code: 'source_refused', retryable: false });
    expect(fault.message).toContain('private address');
    expect(inside.connections + inside.requests.length).toBe(0);
  });

  it('are not reached through a name that changes its mind', async () => {
    const origin = await start();
    const inside = await start({ host: '127.0.0.2' });
    inside.put('/secrets', content);
    const location = `http://rebind.test:${inside.port}/secrets`;
    origin.redirect('/config.json', location);
    // The first answer is a public address without a server; the second one the private one.
    const lookup = resolver({ 'rebind.test': ['127.0.0.1', '127.0.0.2'] });
    const source = sourceAt(origin.url, { isPrivate, lookup });
    expect((await faultOf(fetchOne(source, file))).code).toBe('source_unreachable');
    expect((await faultOf(fetchOne(source, file))).code).toBe('source_refused');
    expect(inside.requests).toHaveLength(0);
  });

  it('are reached by a redirect within the private network', async () => {
    const origin = await start({ host: '127.0.0.2' });
    const inside = await start({ host: '127.0.0.2' });
    inside.put('/file', content);
    origin.redirect('/config.json', `${inside.url}/file`);
    await fetchOne(sourceAt(origin.url, { isPrivate }), file);
  });

  it.each([
    ['http://169.254.169.254/latest/meta-data/'],
    ['http://[::ffff:169.254.169.254]/latest/meta-data/'],
    ['http://[fd20:ce::254]/computeMetadata/v1/'],
    ['http://168.63.129.16/machine/?comp=goalstate'],
    ['http://metadata.test/latest/meta-data/'],
  ])('of metadata services are not reached from there either: %s', async (location) => {
    const origin = await start({ host: '127.0.0.2' });
    origin.redirect('/config.json', location);
    const lookup = resolver({ 'metadata.test': ['169.254.169.254'] });
    const fault = await faultOf(fetchOne(sourceAt(origin.url, { isPrivate, lookup }), file));
    expect(fault).toMatchObject({ code: 'source_refused', retryable: false });
    expect(fault.message).toContain('private address');
  });

  it('do not matter to a public host that redirects to another', async () => {
    const origin = await start();
    const other = await start();
    other.put('/file', content);
    origin.redirect('/config.json', `http://public.test:${other.port}/file`);
    const lookup = resolver({ 'public.test': ['127.0.0.1'] });
    await fetchOne(sourceAt(origin.url, { isPrivate, lookup }), file);
  });
});

describe('https', () => {
  it('downloads from a server whose certificate is trusted', async () => {
    const origin = await start({ tls: CERTIFICATE });
    origin.put('/config.json', content);
    expect((await fetchOne(sourceAt(origin.url, { ca: CERTIFICATE.cert }), file)).bytes).toEqual(content);
  });

  it('never leads to http', async () => {
    const origin = await start({ tls: CERTIFICATE });
    const plain = await start();
    plain.put('/file', content);
    origin.redirect('/config.json', `${plain.url}/file`);
    const fault = await faultOf(fetchOne(sourceAt(origin.url, { ca: CERTIFICATE.cert }), file));
    expect(fault).toMatchObject({
      code: 'source_refused',
      message: expect.stringContaining('https to http'),
    });
    expect(plain.requests).toHaveLength(0);
  });

  it('may follow http, without the credential', async () => {
    const origin = await start();
    const secure = await start({ tls: CERTIFICATE });
    secure.put('/file', content);
    origin.redirect('/config.json', `${secure.url}/file`);
    const url = origin.url.replace('//', '//me:secret@');
    await fetchOne(sourceAt(url, { ca: CERTIFICATE.cert }), file);
    expect(secure.requests[0]?.headers.authorization).toBeUndefined();
  });

  it('does not talk to a server with another certificate, nor ask twice', async () => {
    const origin = await start({ tls: CERTIFICATE });
    const fault = await faultOf(fetchOne(sourceAt(origin.url), file));
    expect(fault).toMatchObject({ code: 'source_unreachable', retryable: false });
    expect(fault.message).toContain('TLS');
  });
});
