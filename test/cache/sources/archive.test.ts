import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type ArchiveOptions, createArchiveSource } from '../../../src/cache/sources/archive.js';
import type { SourceEvent } from '../../../src/cache/sources/retry.js';
import { type Content, generated, pin, sha256Of, sizeOf, sliceOf } from '../../support/content.js';
import { type Fault, Origin, type ServeOptions } from '../../support/origin.js';
import { type TarInput, tar, tarOf } from '../../support/tar.js';
import { collect, FAST, faultOf, fetchOne, never, SILENT_ONCE, wanted } from './collect.js';
import { describeSource } from './contract.js';

const PATH = '/models/minilm.tar.gz';

function inMemory(files: Readonly<Record<string, Content>>): Record<string, Uint8Array> {
  return Object.fromEntries(
    Object.entries(files).map(([path, content]) => [path, sliceOf(content, 0, sizeOf(content))]),
  );
}

for (const [kind, pack] of [
  ['.tar', (archive: Buffer) => archive],
  ['.tar.gz', (archive: Buffer) => gzipSync(archive)],
] as const) {
  describeSource(
    `an archive (${kind})`,
    async (files) => {
      const origin = await Origin.start();
      origin.put(PATH, pack(tarOf(inMemory(files))));
      const source = createArchiveSource({ url: `${origin.url}${PATH}`, limits: FAST });
      const close = async () => {
        await source.close();
        await origin.close();
      };
      return { source, close };
    },
    { missing: 'left out', resumes: false },
  );
}

const config = Buffer.from('{"hidden_size":384}');
const model = Buffer.from(generated(400_000).slice(0, 400_000));
const files = [pin('config.json', config), pin('onnx/model.onnx', model)] as const;
const honest: TarInput[] = [
  { path: 'config.json', content: config },
  { path: 'onnx/model.onnx', content: model },
];

async function setup(
  archive: Content,
  options: Partial<ArchiveOptions> & { query?: string; serve?: ServeOptions } = {},
) {
  const origin = await Origin.start();
  origin.put(PATH, archive, options.serve);
  const events: SourceEvent[] = [];
  const source = createArchiveSource({
    url: `${origin.url}${PATH}${options.query ?? ''}`,
    limits: FAST,
    onEvent: (event) => events.push(event),
    ...options,
  });
  onTestFinished(async () => {
    await source.close();
    await origin.close();
  });
  return { origin, source, events };
}

/** Path → sha256 of what arrives from an archive of `entries`. */
async function arrivalOf(entries: readonly TarInput[]): Promise<Record<string, string>> {
  const { source } = await setup(gzipSync(tar(entries)));
  const arrived = await collect(source, wanted(...files));
  return Object.fromEntries(arrived.map(({ path, bytes }) => [path, sha256Of(bytes)]));
}

describe('from an archive', () => {
  const good = { 'config.json': files[0].sha256, 'onnx/model.onnx': files[1].sha256 };

  it('all wanted files come in one request', async () => {
    const { origin, source } = await setup(gzipSync(tar(honest)));
    expect(await collect(source, wanted(...files))).toHaveLength(2);
    expect(origin.requests).toHaveLength(1);
  });

  it.each([
    ['./', './'],
    ['a common folder', 'all-MiniLM-L6-v2/'],
    ['both', './all-MiniLM-L6-v2/'],
  ])('files below %s are found', async (_, folder) => {
    const folders: TarInput[] = [{ path: folder, type: '5' }];
    expect(await arrivalOf([...folders, ...honest.map((e) => ({ ...e, path: folder + e.path }))])).toEqual(
      good,
    );
  });

  it('files below another folder than the first one do not count', async () => {
    const other = { path: 'b/onnx/model.onnx', content: Buffer.alloc(model.length) };
    expect(await arrivalOf([{ path: 'a/config.json', content: config }, other])).toEqual({
      'config.json': files[0].sha256,
    });
  });

  it('a folder of the model itself is not taken for a common one', async () => {
    const decoy = { path: 'onnx/config.json', content: Buffer.alloc(config.length) };
    expect(await arrivalOf([decoy, ...honest])).toEqual(good);
  });

  const evil = Buffer.alloc(config.length, 'evil');
  it.each<[string, TarInput]>([
    ['climbs out', { path: '../config.json', content: evil }],
    ['climbs out further in', { path: 'x/../config.json', content: evil }],
    ['is absolute', { path: '/config.json', content: evil }],
    ['has an empty segment', { path: 'x//config.json', content: evil }],
    ['is a symbolic link', { path: 'config.json', type: '2', link: '/etc/passwd' }],
    ['is a hard link', { path: 'config.json', type: '1', link: 'onnx/model.onnx' }],
    ['is a device', { path: 'config.json', type: '3' }],
    ['is a FIFO', { path: 'config.json', type: '6' }],
    ['is a folder', { path: 'config.json', type: '5' }],
    ['is larger', { path: 'config.json', content: Buffer.concat([config, evil]) }],
    ['is smaller', { path: 'config.json', content: evil.subarray(1) }],
    ['is not wanted', { path: 'pytorch_model.bin', content: evil }],
    ['has an absolute PAX path', { path: 'config.json', content: evil, pax: { path: '/config.json' } }],
  ])('an entry that %s changes nothing', async (_, entry) => {
    expect(await arrivalOf([entry, ...honest])).toEqual(good);
  });

  it('the first of two copies wins', async () => {
    expect(await arrivalOf([...honest, { path: 'config.json', content: evil }])).toEqual(good);
  });

  it('a file that is there in another size only is named', async () => {
    const { source } = await setup(tar([{ path: 'config.json', content: model }, honest[1] ?? { path: '' }]));
    const fault = await faultOf(collect(source, wanted(...files)));
    expect(fault.code).toBe('source_wrong_bytes');
    expect(fault.message).toContain('config.json');
  });

  it('nothing further is read once all wanted files are there', async () => {
    const rest = Buffer.from(generated(60_000_000).slice(0, 60_000_000));
    const { origin, source } = await setup(tar([...honest, { path: 'rest', content: rest }]));
    await collect(source, wanted(...files));
    expect(origin.bytesSent).toBeLessThan(20_000_000);
  });

  it('a presigned query is sent, and not shown', async () => {
    const { origin, source } = await setup(tar(honest), { query: '?X-Sig=s3cret' });
    await collect(source, wanted(...files));
    expect(origin.requests[0]?.query).toBe('?X-Sig=s3cret');
    origin.faultAlways('*', { kind: 'status', status: 403 });
    const fault = await faultOf(collect(source, wanted(...files)));
    expect(fault.code).toBe('source_unauthorized');
    expect([fault.message, fault.stack, source.name].join()).not.toContain('s3cret');
  });
});

describe('an archive on its way', () => {
  it.each<[string, Fault]>([
    ['a cut', { kind: 'cut', afterBytes: 200_000 }],
    ['a cut without a length', { kind: 'cut', afterBytes: 200_000, framing: 'close' }],
    ['a reset', { kind: 'cut', afterBytes: 200_000, framing: 'chunked', reset: true }],
    ['a stall', { kind: 'stall', afterBytes: 200_000 }],
    ['a busy server', { kind: 'status', status: 503 }],
  ])('is read again after %s', async (_, fault) => {
    for (const pack of [gzipSync, (archive: Buffer) => archive]) {
      const { origin, source, events } = await setup(pack(tar(honest)), {
        limits: fault.kind === 'stall' ? SILENT_ONCE : FAST,
      });
      origin.fault(PATH, fault);
      const arrived = await collect(source, wanted(...files));
      expect(arrived.map(({ path }) => path)).toEqual(['config.json', 'onnx/model.onnx']);
      expect(arrived[1]?.bytes.equals(model)).toBe(true);
      expect(origin.requests.map(({ headers }) => headers.range)).toEqual([undefined, undefined]);
      expect(events).toMatchObject([{ kind: 'retry', file: 'minilm.tar.gz', attempt: 1 }]);
    }
  });

  it('is given up when it changes on the way', async () => {
    const { origin, source } = await setup(tar(honest));
    origin.fault(PATH, { kind: 'cut', afterBytes: 200_000 });
    const iterate = async () => {
      for await (const { file, bytes } of source.deliver(wanted(...files), never)) {
        for await (const _ of bytes) {
          if (file.path === 'config.json') continue;
          origin.put(PATH, tar([{ path: 'onnx/model.onnx', content: Buffer.alloc(7) }]));
        }
      }
    };
    expect((await faultOf(iterate())).message).toContain('changed during the download');
  });

  it('is not asked for again when it lies truncated on the server', async () => {
    const archive = gzipSync(tar(honest));
    const { origin, source } = await setup(archive.subarray(0, archive.length - 1_000));
    expect(await faultOf(collect(source, wanted(...files)))).toMatchObject({
      code: 'source_truncated',
      retryable: false,
    });
    expect(origin.requests).toHaveLength(1);
  });

  it('is truncated when it ends between two files without its end mark', async () => {
    const { source } = await setup(tar(honest.slice(0, 1), false));
    expect((await faultOf(collect(source, wanted(...files)))).code).toBe('source_truncated');
  });

  it.each<[string, Fault, string]>([
    ['a web page', { kind: 'html' }, 'HTML page'],
    ['a Git LFS pointer', { kind: 'lfs-pointer' }, 'Git LFS pointer'],
    ['noise', { kind: 'replace', content: generated(5_000) }, 'not a tar archive'],
    ['nothing', { kind: 'replace', content: Buffer.alloc(0) }, 'ends too early'],
    [
      'damaged gzip',
      { kind: 'replace', content: Buffer.from('1f8b0800000000000003ffffffffffffff', 'hex') },
      'gzip',
    ],
  ])('is named when it is %s', async (_, fault, words) => {
    const { origin, source } = await setup(tar(honest));
    origin.faultAlways(PATH, fault);
    const { code, message } = await faultOf(collect(source, wanted(...files)));
    expect(['source_wrong_bytes', 'source_truncated']).toContain(code);
    expect(message).toContain(words);
    expect(origin.requests).toHaveLength(1);
  });

  it.each([
    ['a .tar.gz that is labelled so', gzipSync(tar(honest))],
    ['a .tar that was labelled for nothing', tar(honest)],
  ])('is unpacked once when it has a Content-Encoding (%s)', async (_, archive) => {
    const { origin, source } = await setup(archive);
    origin.faultAlways(PATH, { kind: 'encoded' });
    expect((await collect(source, wanted(...files)))[1]?.bytes.equals(model)).toBe(true);
  });

  it('is named when it has none of the wanted files', async () => {
    const { source } = await setup(tar([{ path: 'README.md', content: config }]));
    expect((await faultOf(collect(source, wanted(...files)))).code).toBe('source_not_found');
  });

  it('is left when it unpacks to more than it may', async () => {
    const bomb = gzipSync(tar([{ path: 'zeros', content: Buffer.alloc(64_000_000) }, ...honest]));
    expect(bomb.length).toBeLessThan(1_000_000);
    const { source } = await setup(bomb, { limits: { ...FAST, archiveSlackBytes: 1_000_000 } });
    expect(await faultOf(collect(source, wanted(...files)))).toMatchObject({
      code: 'source_too_large',
      retryable: false,
    });
  });

  it('is left when it is packed to more than it may', async () => {
    const { origin, source } = await setup(tar([{ path: 'noise', content: model }, ...honest]), {
      limits: { ...FAST, archiveSlackBytes: 100_000 },
    });
    expect((await faultOf(collect(source, wanted(...files)))).code).toBe('source_too_large');
    origin.faultAlways(PATH, { kind: 'endless', framing: 'chunked' });
    expect((await faultOf(collect(source, wanted(...files)))).code).toBe('source_too_large');
  });

  it('never needs much memory, whatever it holds', async () => {
    const size = 120_000_000;
    const bytes = Buffer.from(generated(size).slice(0, size));
    const pinned = pin('onnx/model.onnx', bytes);
    const { source } = await setup(tar([{ path: 'onnx/model.onnx', content: bytes }]));
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    for await (const delivery of source.deliver(wanted(pinned), never)) {
      for await (const _ of delivery.bytes) most = Math.max(most, process.memoryUsage().arrayBuffers);
    }
    // Both ends are in this process, and freed buffers wait for the garbage collector.
    expect(most - before).toBeLessThan(64_000_000);
  });

  it('may be dropped in the middle of a file', async () => {
    const { source } = await setup(gzipSync(tar(honest)));
    for await (const { bytes } of source.deliver(wanted(...files), never)) {
      for await (const _ of bytes) break;
      break;
    }
    expect((await fetchOne(source, files[1])).bytes.equals(model)).toBe(true);
  });
});
