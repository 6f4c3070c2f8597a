import { createHash } from 'node:crypto';
import { appendFile, chmod, readdir, readlink, rename, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import Koa from 'koa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { blobPath, type Layout, layoutOf } from '../../src/cache/layout.js';
import { type Manifest, type PinnedFile, parseManifest } from '../../src/cache/manifest.js';
import { BlobOpener } from '../../src/cache/open-blob.js';
import { createMirrorSource } from '../../src/cache/sources/files.js';
import { ContentStore } from '../../src/cache/store.js';
import { readConfig } from '../../src/config/config.js';
import { EndpointTable } from '../../src/http/app.js';
import { modelEndpoints } from '../../src/http/endpoints/models.js';
import { sendError } from '../../src/http/errors.js';
import type { RequestState } from '../../src/http/request.js';
import { listen } from '../../src/http/server.js';
import { AppError } from '../../src/shared/errors.js';
import { describeSource } from '../cache/sources/contract.js';
import { type Content, pin, sizeOf, sliceOf } from '../support/content.js';
import { eventually } from '../support/eventually.js';
import { smallModel, temporaryFolder } from '../support/volume.js';

const MODEL_BYTES = 2_000_000;
const { manifest, files } = smallModel(MODEL_BYTES);
const weights = files.get('onnx/model.onnx') ?? Buffer.alloc(0);
const pinnedWeights = manifest.files[0] ?? { path: '', size: 0, sha256: '' };
const base = `/test/small/resolve/${manifest.revision}`;
const WEIGHTS = `${base}/onnx/model.onnx`;

/** A volume with these files, served over HTTP. */
async function serve(
  of: Manifest,
  contents: ReadonlyMap<string, Content>,
  folder: string,
): Promise<{ url: string; layout: Layout; close(): Promise<void> }> {
  const store = new ContentStore(folder);
  await store.prepare();
  for (const { path, sha256 } of of.files) {
    const content = contents.get(path);
    if (content) await writeFile(blobPath(store.layout, sha256), sliceOf(content, 0, sizeOf(content)));
  }
  const opener = new BlobOpener(store.layout);
  const table = new EndpointTable(modelEndpoints());
  const models = { manifest: of, open: (file: PinnedFile) => opener.open(file) };
  const app = new Koa<RequestState>();
  app.use(async (context) => {
    Object.assign(context.state, { requestId: 'a request', dialect: 'problem' });
    const { endpoint, params } = table.match(context.method, context.path);
    try {
      if (!endpoint) throw new AppError('not_found', 'nothing there');
      await endpoint.handle(context, { models }, params);
    } catch (error) {
      sendError(context, error instanceof AppError ? error : new AppError('internal', String(error)));
    }
  });
  app.on('error', () => undefined);
  const server = await listen(app.callback(), 0, '127.0.0.1', readConfig({}), {
    metrics: { began() {}, answered() {}, refused() {} },
    log: { debug() {}, info() {}, warn() {}, error() {} },
  });
  return { url: server.url, layout: layoutOf(folder), close: () => server.close(0) };
}

async function small(): Promise<{ url: string; layout: Layout }> {
  const served = await serve(manifest, files, await temporaryFolder());
  onTestFinished(() => served.close());
  return served;
}

async function bytesOf(response: Response): Promise<Buffer> {
  return Buffer.from(await response.arrayBuffer());
}

/** Waits until this process has no descriptor open on a blob of the volume; they are closed behind an answer. */
async function noneIsOpen(layout: Layout): Promise<void> {
  await eventually(async () => {
    const links = await Promise.all(
      (await readdir('/proc/self/fd')).map((fd) => readlink(join('/proc/self/fd', fd)).catch(() => '')),
    );
    expect(links.filter((target) => target.startsWith(layout.blobs))).toEqual([]);
  });
}

describe('a file of the model', () => {
  it.each(['', '/models'])('is served whole under %j, with the hub headers', async (prefix) => {
    const { url, layout } = await small();
    const response = await fetch(url + prefix + WEIGHTS);
    expect(response.status).toBe(200);
    expect((await bytesOf(response)).equals(weights)).toBe(true);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      etag: `"${pinnedWeights.sha256}"`,
      'accept-ranges': 'bytes',
      'content-length': String(MODEL_BYTES),
      'content-type': 'application/octet-stream',
      'x-repo-commit': manifest.revision,
      'x-linked-etag': `"${pinnedWeights.sha256}"`,
      'x-linked-size': String(MODEL_BYTES),
      'cache-control': 'public, max-age=31536000, immutable',
    });
    await noneIsOpen(layout);
  });

  it('answers HEAD like GET, without the body', async () => {
    const { url, layout } = await small();
    const head = await fetch(url + WEIGHTS, { method: 'HEAD' });
    expect(head.status).toBe(200);
    expect(head.headers.get('content-length')).toBe(String(MODEL_BYTES));
    expect(head.headers.get('x-repo-commit')).toBe(manifest.revision);
    expect((await bytesOf(head)).length).toBe(0);
    await noneIsOpen(layout);
  });

  it('resolves the branch to the pinned commit, and lets no cache keep that for long', async () => {
    const { url } = await small();
    const response = await fetch(`${url}/test/small/resolve/main/tokenizer.json`, { method: 'HEAD' });
    expect(response.headers.get('x-repo-commit')).toBe(manifest.revision);
    expect(response.headers.get('cache-control')).toBe('no-cache');
  });

  it.each([
    ['bytes=0-99', 0, 100],
    ['bytes=1999990-', 1_999_990, MODEL_BYTES],
    ['bytes=-10', MODEL_BYTES - 10, MODEL_BYTES],
    ['bytes=5-99999999', 5, MODEL_BYTES],
    ['bytes=0-0', 0, 1],
  ])('answers Range %s with 206', async (range, start, end) => {
    const { url } = await small();
    const response = await fetch(url + WEIGHTS, { headers: { range } });
    expect(response.status).toBe(206);
    expect(response.headers.get('content-range')).toBe(`bytes ${start}-${end - 1}/${MODEL_BYTES}`);
    expect(response.headers.get('content-length')).toBe(String(end - start));
    expect((await bytesOf(response)).equals(weights.subarray(start, end))).toBe(true);
  });

  it.each(['bytes=0-1,5-6', 'bytes=9-3', 'lines=1-2', 'bytes=', 'bytes=x-y'])(
    'answers Range %j, which it does not know, with everything',
    async (range) => {
      const { url } = await small();
      const response = await fetch(url + WEIGHTS, { headers: { range } });
      expect(response.status).toBe(200);
      expect((await bytesOf(response)).length).toBe(MODEL_BYTES);
    },
  );

  it.each([`bytes=${MODEL_BYTES}-`, 'bytes=-0'])(
    'answers Range %j beyond its end with 416',
    async (range) => {
      const { url, layout } = await small();
      const response = await fetch(url + WEIGHTS, { headers: { range } });
      expect(response.status).toBe(416);
      expect(response.headers.get('content-range')).toBe(`bytes */${MODEL_BYTES}`);
      await response.arrayBuffer();
      await noneIsOpen(layout);
    },
  );

  it('heeds If-Range and If-None-Match', async () => {
    const { url } = await small();
    const etag = `"${pinnedWeights.sha256}"`;
    const ask = async (headers: Record<string, string>): Promise<number> => {
      const response = await fetch(url + WEIGHTS, { headers });
      await response.arrayBuffer();
      return response.status;
    };
    expect(await ask({ range: 'bytes=0-9', 'if-range': etag })).toBe(206);
    expect(await ask({ range: 'bytes=0-9', 'if-range': '"other"' })).toBe(200);
    expect(await ask({ 'if-none-match': etag })).toBe(304);
    expect(await ask({ 'if-none-match': `"other", W/${etag}` })).toBe(304);
    expect(await ask({ 'if-none-match': '*' })).toBe(304);
    expect(await ask({ 'if-none-match': '"other"' })).toBe(200);
  });

  it.each([
    [`${base}/pytorch_model.bin`, 'EntryNotFound'],
    [`${base}/../../../state.json`, undefined],
    [`${base}/..%2f..%2fstate.json`, 'EntryNotFound'],
    [`${base}/onnx`, 'EntryNotFound'],
    [`/test/small/resolve/${'b'.repeat(40)}/tokenizer.json`, 'RevisionNotFound'],
    [`/test/large/resolve/${manifest.revision}/tokenizer.json`, 'RepoNotFound'],
    [`/api/models/test/large`, 'RepoNotFound'],
    [`/api/models/test/small/revision/dev`, 'RevisionNotFound'],
  ])('answers %s with 404 and %s', async (path, code) => {
    const { url } = await small();
    const response = await fetch(url + path);
    expect(response.status).toBe(404);
    expect(response.headers.get('x-error-code') ?? undefined).toBe(code);
    await response.arrayBuffer();
  });
});

describe('a blob that rots', () => {
  it('is not served, though it was served before', async () => {
    const { url, layout } = await small();
    expect((await bytesOf(await fetch(url + WEIGHTS))).equals(weights)).toBe(true);
    await writeFile(blobPath(layout, pinnedWeights.sha256), Buffer.alloc(MODEL_BYTES, 1));
    const response = await fetch(url + WEIGHTS);
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ code: 'blob_corrupt' });
    await noneIsOpen(layout);
  });

  it('is served again when it is repaired', async () => {
    const { url, layout } = await small();
    const path = blobPath(layout, pinnedWeights.sha256);
    await writeFile(path, 'rotten');
    expect((await fetch(url + WEIGHTS)).status).toBe(503);
    await writeFile(`${path}.good`, weights);
    await rename(`${path}.good`, path);
    expect((await bytesOf(await fetch(url + WEIGHTS))).equals(weights)).toBe(true);
  });

  it('that is missing is answered with 503', async () => {
    const served = await serve(manifest, new Map(), await temporaryFolder());
    onTestFinished(() => served.close());
    const response = await fetch(served.url + WEIGHTS);
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ code: 'blob_missing' });
  });

  it('gives no mixture: who has begun to read goes on with the old file', async () => {
    const large = smallModel(30_000_000);
    const served = await serve(large.manifest, large.files, await temporaryFolder());
    onTestFinished(() => served.close());
    const file = large.manifest.files[0] ?? pinnedWeights;
    const path = blobPath(served.layout, file.sha256);
    const response = await fetch(`${served.url}${base}/${file.path}`);
    await writeFile(`${path}.other`, Buffer.alloc(file.size, 9));
    await rename(`${path}.other`, path);
    const hash = createHash('sha256').update(await bytesOf(response));
    expect(hash.digest('hex')).toBe(file.sha256);
    expect((await fetch(`${served.url}${base}/${file.path}`)).status).toBe(503);
  });

  it('breaks the connection when it is written to under a reader', async () => {
    const large = smallModel(30_000_000);
    const served = await serve(large.manifest, large.files, await temporaryFolder());
    onTestFinished(() => served.close());
    const file = large.manifest.files[0] ?? pinnedWeights;
    const path = blobPath(served.layout, file.sha256);
    const response = await fetch(`${served.url}${base}/${file.path}`);
    await chmod(path, 0o644);
    await appendFile(path, 'more');
    await expect(response.arrayBuffer()).rejects.toThrow();
    await noneIsOpen(served.layout);
  });
});

describe('a client that goes away', () => {
  it('leaves no descriptor open', async () => {
    const large = smallModel(30_000_000);
    const served = await serve(large.manifest, large.files, await temporaryFolder());
    onTestFinished(() => served.close());
    for (let round = 0; round < 20; round += 1) {
      await new Promise<void>((resolve, reject) => {
        const ask = request(`${served.url}${base}/onnx/model.onnx`, (response) => {
          if (round % 2 === 0) response.once('data', () => ask.destroy());
          else ask.destroy();
          response.on('close', resolve).on('error', () => undefined);
        });
        ask.on('error', (error) => (ask.destroyed ? resolve() : reject(error))).end();
      });
    }
    await noneIsOpen(served.layout);
  });

  it('costs no memory while it is slow', async () => {
    const large = smallModel(60_000_000);
    const served = await serve(large.manifest, large.files, await temporaryFolder());
    onTestFinished(() => served.close());
    const before = process.memoryUsage();
    const slow = Array.from({ length: 20 }, () => request(`${served.url}${base}/onnx/model.onnx`));
    await Promise.all(
      slow.map(
        (ask) =>
          new Promise<void>((resolve) => {
            ask.on('response', (response) => {
              response.pause();
              response.on('error', () => undefined);
              resolve();
            });
            ask.on('error', () => undefined).end();
          }),
      ),
    );
    // Until one that reads has all of it: as much time as the others had.
    const { body } = await fetch(`${served.url}${base}/onnx/model.onnx`);
    let received = 0;
    for await (const piece of body ?? []) received += piece.length;
    expect(received).toBe(60_000_000);
    const grown = process.memoryUsage().arrayBuffers - before.arrayBuffers;
    for (const ask of slow) ask.destroy();
    expect(grown).toBeLessThan(60_000_000);
  });
});

describe("the hub's API", () => {
  it('tells commit and files', async () => {
    const { url } = await small();
    for (const path of ['', '/revision/main', `/revision/${manifest.revision}`]) {
      const info = await (await fetch(`${url}/api/models/test/small${path}`)).json();
      expect(info).toMatchObject({
        id: 'test/small',
        sha: manifest.revision,
        siblings: manifest.files.map(({ path: rfilename }) => ({ rfilename })),
      });
    }
  });

  it('lists the tree, whole or by folder', async () => {
    const { url } = await small();
    const list = async (path: string): Promise<{ path: string; type: string; lfs?: { oid: string } }[]> => {
      const response = await fetch(`${url}/api/models/test/small/tree/${path}`);
      return (await response.json()) as { path: string; type: string; lfs?: { oid: string } }[];
    };
    const whole = await list('main?recursive=true&expand=false');
    expect(whole.map(({ path }) => path)).toEqual([
      'onnx',
      'onnx/model.onnx',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(whole[1]?.lfs?.oid).toBe(pinnedWeights.sha256);
    expect((await list('main')).map(({ path, type }) => `${type} ${path}`)).toEqual([
      'directory onnx',
      'file tokenizer.json',
      'file tokenizer_config.json',
    ]);
    expect((await list('main/onnx')).map(({ path }) => path)).toEqual(['onnx/model.onnx']);
  });
});

describeSource(
  'another instance as a mirror',
  async (contents) => {
    const pins = Object.entries(contents).map(([path, content]) => pin(path, content));
    const of = parseManifest(
      JSON.stringify({
        ...manifest,
        digest: undefined,
        files: [...manifest.files.filter(({ path }) => !(path in contents)), ...pins],
      }),
      'contract manifest',
    );
    const withoutTokenizer = { ...of, files: pins };
    const removals: (() => Promise<void>)[] = [];
    const folder = await temporaryFolder((remove) => void removals.push(remove));
    const served = await serve(withoutTokenizer, new Map(Object.entries(contents)), folder);
    const source = createMirrorSource({ url: served.url, repo: of.repo, revision: of.revision });
    return {
      source,
      close: async () => {
        await source.close();
        await served.close();
        for (const remove of removals) await remove();
      },
    };
  },
  { missing: 'error', resumes: true },
);
