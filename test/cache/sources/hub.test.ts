import { describe, expect, it, onTestFinished } from 'vitest';
import { createHubSource, type HubOptions } from '../../../src/cache/sources/files.js';
import type { WireParts } from '../../../src/cache/sources/retry.js';
import { generated, pin } from '../../support/content.js';
import { type Hub, startHub } from '../../support/hub-origin.js';
import { collect, FAST, faultOf, fetchOne, wanted } from './collect.js';
import { describeSource } from './contract.js';

describeSource(
  'the hub',
  async (files) => {
    const hub = await startHub({ files });
    const source = createHubSource({
      endpoint: hub.endpoint.url,
      repo: hub.repo,
      revision: hub.revision,
      limits: FAST,
    });
    const close = async () => {
      await source.close();
      await hub.close();
    };
    return { source, close };
  },
  { missing: 'error', resumes: true },
);

describe('the hub', () => {
  const model = Buffer.from(generated(200_000).slice(0, 200_000));
  const config = Buffer.from('{}\n');
  const files = { 'onnx/model.onnx': model, 'config.json': config };
  const pinned = pin('onnx/model.onnx', model);

  async function setup(options: Partial<HubOptions> = {}, parts: WireParts = {}) {
    const hub = await startHub({ files });
    const source = createHubSource(
      { endpoint: hub.endpoint.url, repo: hub.repo, revision: hub.revision, limits: FAST, ...options },
      parts,
    );
    onTestFinished(async () => {
      await source.close();
      await hub.close();
    });
    return { hub, source };
  }

  function announce(hub: Hub, headers: Record<string, string>): void {
    hub.endpoint.fault(hub.pathOf('onnx/model.onnx'), { kind: 'headers', headers });
  }

  it('asks for a file once, at the pinned revision, and follows to the content network', async () => {
    const { hub, source } = await setup();
    expect((await fetchOne(source, pinned)).bytes.equals(model)).toBe(true);
    expect(hub.endpoint.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      `GET /Xenova/all-MiniLM-L6-v2/resolve/${'a'.repeat(40)}/onnx/model.onnx`,
    ]);
    expect(hub.cdn.requests).toHaveLength(1);
    expect(hub.cdn.requests[0]?.query).toBe('?X-Signature=signed');
    expect(hub.endpoint.requests[0]?.headers['accept-encoding']).toBe('identity');
  });

  it('sends its token to the endpoint only', async () => {
    const { hub, source } = await setup({ token: 'hf_secret' });
    await collect(source, wanted(pinned, pin('config.json', config)));
    expect(hub.endpoint.requests.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer hf_secret',
      'Bearer hf_secret',
    ]);
    expect(hub.cdn.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  it('refuses another size than the pinned one before the download', async () => {
    const { hub, source } = await setup();
    announce(hub, { 'x-linked-size': '133' });
    expect(await faultOf(fetchOne(source, pinned))).toMatchObject({
      code: 'source_wrong_bytes',
      message: expect.stringContaining('133 bytes'),
    });
    expect(hub.cdn.requests).toHaveLength(0);
  });

  it('refuses another sha256 than the pinned one before the download', async () => {
    const { hub, source } = await setup();
    announce(hub, { 'x-linked-etag': `"${'f'.repeat(64)}"` });
    expect((await faultOf(fetchOne(source, pinned))).code).toBe('source_wrong_bytes');
    expect(hub.cdn.requests).toHaveLength(0);
  });

  it('takes the git hash of a small file for what it is', async () => {
    const { hub, source } = await setup();
    announce(hub, { 'x-linked-etag': `"${'f'.repeat(40)}"` });
    await fetchOne(source, pinned);
  });

  it('resumes at the content network', async () => {
    const { hub, source } = await setup();
    hub.cdn.fault('*', { kind: 'cut', afterBytes: 100_000 });
    expect((await fetchOne(source, pinned)).bytes.equals(model)).toBe(true);
    expect(hub.cdn.requests).toHaveLength(2);
    expect(hub.cdn.requests[1]?.headers.range).toMatch(/^bytes=[1-9]\d*-$/);
    expect(hub.cdn.requests[1]?.headers['if-range']).toBe(`"${pinned.sha256}"`);
  });

  it('says why it was turned away, where the hub says so', async () => {
    const { hub, source } = await setup({ token: 'hf_secret' });
    hub.endpoint.faultAlways('*', { kind: 'status', status: 403, headers: { 'x-error-code': 'GatedRepo' } });
    const fault = await faultOf(fetchOne(source, pinned));
    expect(fault).toMatchObject({ code: 'source_unauthorized', retryable: false });
    expect(fault.message).toContain('GatedRepo');
    expect(JSON.stringify([fault.message, fault.stack])).not.toContain('hf_secret');
    expect(hub.requestCount).toBe(1);
  });

  it('makes no connection before it has to', async () => {
    const { hub, source } = await setup();
    expect(source.name).toBe('hub');
    expect(await collect(source, [])).toEqual([]);
    expect(hub.endpoint.connections).toBe(0);
  });

  it('refuses an endpoint that is no http URL, without quoting it', () => {
    const make = (endpoint: string) => () => createHubSource({ endpoint, repo: 'a/b', revision: 'c' });
    expect(make('not a url?token=secret')).toThrow(/cannot be read/);
    expect(make('not a url?token=secret')).not.toThrow(/secret/);
    expect(make('ftp://user:secret@host/')).toThrow(/must be https or http/);
  });
});
