import { describe, expect, it, onTestFinished } from 'vitest';
import { createMirrorSource, type MirrorOptions } from '../../../src/cache/sources/files.js';
import { pin } from '../../support/content.js';
import { Origin } from '../../support/origin.js';
import { collect, FAST, faultOf, fetchOne, wanted } from './collect.js';
import { describeSource } from './contract.js';

const REPO = 'Xenova/all-MiniLM-L6-v2';
const REVISION = 'b'.repeat(40);
const HUB = `/models/${REPO}/resolve/${REVISION}`;

for (const layout of ['hub', 'plain'] as const) {
  describeSource(
    `a mirror with the ${layout} layout`,
    async (files) => {
      const origin = await Origin.start();
      const root = layout === 'hub' ? HUB : '/models';
      for (const [path, content] of Object.entries(files)) origin.put(`${root}/${path}`, content);
      const url = `${origin.url}/models/`;
      const source = createMirrorSource({ url, repo: REPO, revision: REVISION, limits: FAST });
      const close = async () => {
        await source.close();
        await origin.close();
      };
      return { source, close };
    },
    { missing: 'error', resumes: true },
  );
}

describe('a mirror', () => {
  const config = Buffer.from('{"a":1}');
  const vocabulary = Buffer.from('one\ntwo\n');
  const files = wanted(pin('config.json', config), pin('onnx/vocab.txt', vocabulary));

  async function setup(root: string, options: Partial<MirrorOptions> = {}, query = '', userinfo = '') {
    const origin = await Origin.start();
    origin.put(`${root}/config.json`, config);
    origin.put(`${root}/onnx/vocab.txt`, vocabulary);
    const url = `${origin.url.replace('//', `//${userinfo}`)}/models${query}`;
    const source = createMirrorSource({ url, repo: REPO, revision: REVISION, limits: FAST, ...options });
    onTestFinished(async () => {
      await source.close();
      await origin.close();
    });
    return { origin, source };
  }

  it('tries the hub layout first, then the plain one, and remembers which it was', async () => {
    const { origin, source } = await setup('/models');
    expect(await collect(source, files)).toHaveLength(2);
    await collect(source, files);
    expect(origin.requests.map(({ path }) => path)).toEqual([
      `${HUB}/config.json`,
      '/models/config.json',
      '/models/onnx/vocab.txt',
      '/models/config.json',
      '/models/onnx/vocab.txt',
    ]);
  });

  it('keeps to the layout that it was given', async () => {
    const { origin, source } = await setup('/models', { layout: 'hub' });
    expect((await faultOf(collect(source, files))).code).toBe('source_not_found');
    expect(origin.requests).toHaveLength(1);
  });

  it.each([
    ['forbids listing', { kind: 'status', status: 403 }],
    ['answers everything with its start page', { kind: 'html' }],
  ] as const)('finds the plain layout on a server that %s', async (_, fault) => {
    const { origin, source } = await setup('/models');
    origin.fault(`${HUB}/config.json`, fault);
    expect(await collect(source, files)).toHaveLength(2);
  });

  it('reports the refusal that says more, when neither layout is there', async () => {
    const { origin, source } = await setup('/elsewhere');
    origin.faultAlways(`${HUB}/config.json`, { kind: 'status', status: 401 });
    expect((await faultOf(collect(source, files))).code).toBe('source_unauthorized');
  });

  it('does not take an outage for another layout', async () => {
    const { origin, source } = await setup('/models');
    origin.faultAlways('*', { kind: 'status', status: 500 });
    expect((await faultOf(collect(source, files))).code).toBe('source_unreachable');
    expect(origin.requestsTo('/models/config.json')).toHaveLength(0);
  });

  it('keeps the query of a presigned URL on requests to its origin, only there, and out of sight', async () => {
    const { origin, source } = await setup('/models', { layout: 'plain' }, '?X-Sig=s3cret&b=2');
    const other = await Origin.start({ host: '127.0.0.2' });
    onTestFinished(() => other.close());
    other.put('/moved', config);
    origin.redirect('/models/config.json', `${other.url}/moved`);
    await collect(source, files);
    expect(origin.requests.map(({ query }) => query)).toEqual(['?X-Sig=s3cret&b=2', '?X-Sig=s3cret&b=2']);
    expect(other.requests[0]?.query).toBe('');

    origin.faultAlways('*', { kind: 'status', status: 403 });
    const fault = await faultOf(collect(source, files));
    expect([fault.message, fault.stack, source.name].join()).not.toContain('s3cret');
    expect(source.name).toBe(`mirror 127.0.0.1:${origin.port}`);
  });

  it('sends the user and password of its URL as Basic authorization', async () => {
    const { origin, source } = await setup('/models', { layout: 'plain' }, '', 'me:p%40ss@');
    await fetchOne(source, pin('config.json', config));
    const expected = `Basic ${Buffer.from('me:p@ss').toString('base64')}`;
    expect(origin.requests[0]?.headers.authorization).toBe(expected);
    expect(source.name).not.toContain('p@ss');
  });
});
