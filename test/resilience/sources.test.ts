import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect } from 'vitest';
import type { Fault, Origin } from '../support/origin.js';
import { tar } from '../support/tar.js';
import { type Box, healthOf, it, some } from './box.js';
import { hubEnv, makeModel, type SmallModel, serve } from './crash.js';
import { survey } from './rot.js';

/** Bytes of the largest file. */
const SIZE = 400_000;

/** The fields of `pull --json` that are read here. */
interface Pulled {
  readonly whole: boolean;
  readonly bytes_received: number;
  readonly failures: readonly { readonly path: string; readonly code: string; readonly message: string }[];
}

/** A hub that misbehaves, and a mirror that has everything. */
interface Supply {
  readonly model: SmallModel;
  readonly hub: Origin;
  readonly mirror: Origin;
  /** The hub's path of the largest file. */
  readonly path: string;
  /** Fills a new volume from these sources; expects that it becomes whole. */
  pull(sources: string, further?: Record<string, string>): Promise<Pulled>;
}

async function supply(box: Box): Promise<Supply> {
  const model = await makeModel(box, SIZE);
  const [hub, mirror] = await Promise.all([box.origin(), box.origin()]);
  serve(hub, model);
  await serve(mirror, model);
  return {
    model,
    hub,
    mirror,
    path: `/${model.manifest.repo}/resolve/${model.manifest.revision}/onnx/model.onnx`,
    async pull(sources, further = {}) {
      const volume = await box.noVolume();
      const env = {
        ...hubEnv(hub, model, volume),
        MODEL_SOURCES: sources,
        MODEL_MIRRORS: mirror.url,
        ...further,
      };
      const { stdout, stderr } = await box.run(['pull', '--json', '--quiet'], env);
      expect(stdout, stderr).not.toBe('');
      const report = JSON.parse(stdout) as Pulled;
      expect(report.whole, JSON.stringify(report.failures)).toBe(true);
      expect((await survey(volume, model.manifest)).torn).toEqual([]);
      return report;
    },
  };
}

/** Faults that a download overcomes at the same source. What waits for timeouts of the wire is of the long form. */
const ONCE: readonly (readonly [what: string, fault: Fault, mostOfSize?: number])[] = [
  ['a connection that is cut', { kind: 'cut', afterBytes: 150_000 }],
  ['a status 503 with Retry-After: 1', { kind: 'status', status: 503, retryAfter: '1' }],
  ['a cut between chunks', { kind: 'cut', afterBytes: 150_000, framing: 'chunked' }],
  ['a cut of a body without length', { kind: 'cut', afterBytes: 150_000, framing: 'close' }],
  ['a reset', { kind: 'cut', afterBytes: 150_000, framing: 'length', reset: true }, 2.1],
  ['a reset between chunks', { kind: 'cut', afterBytes: 150_000, framing: 'chunked', reset: true }, 2.1],
  ['a status 429 with Retry-After: 1', { kind: 'status', status: 429, retryAfter: '1' }],
  ['a status 500 with Retry-After: 1', { kind: 'status', status: 500, retryAfter: '1' }],
  ['a status 502 with Retry-After: 1', { kind: 'status', status: 502, retryAfter: '1' }],
  ['silence before the headers', { kind: 'stall' }],
  ['silence in the middle of the body', { kind: 'stall', afterBytes: 150_000 }],
  ['one byte per second', { kind: 'drip', bytesPerSecond: 1 }],
];

/** Faults after which the next source delivers, with the code of the failure. */
const ALWAYS: readonly (readonly [what: string, fault: Fault, code: string])[] = [
  [
    'wrong bytes of the right size',
    { kind: 'replace', content: Buffer.alloc(SIZE, 7) },
    'source_wrong_bytes',
  ],
  ['a web page with status 200', { kind: 'html' }, 'source_wrong_bytes'],
  ['a body without end in chunks', { kind: 'endless', framing: 'chunked' }, 'source_too_large'],
  ['status 404', { kind: 'status', status: 404 }, 'source_not_found'],
  ['status 401', { kind: 'status', status: 401 }, 'source_unauthorized'],
  ['a redirect to a file', { kind: 'redirect', location: 'file:///etc/passwd' }, 'source_refused'],
  ['an LFS pointer', { kind: 'lfs-pointer' }, 'source_wrong_bytes'],
  ['a body without end or length', { kind: 'endless', framing: 'close' }, 'source_too_large'],
  ['status 403', { kind: 'status', status: 403 }, 'source_unauthorized'],
  ['503 with Retry-After: 3600', { kind: 'status', status: 503, retryAfter: '3600' }, 'source_unreachable'],
  ['429 with Retry-After: 3600', { kind: 'status', status: 429, retryAfter: '3600' }, 'source_rate_limited'],
];

describe('a source that fails once delivers the rest', () => {
  it.concurrent.for(some(ONCE, 2))('after %s', async ([, fault, mostOfSize = 1.05], { box }) => {
    const { hub, path, pull } = await supply(box);
    hub.fault(path, fault);
    const { bytes_received } = await pull('hub');
    expect(bytes_received).toBeLessThanOrEqual((SIZE + 6_000) * mostOfSize);
    expect(hub.requestsTo(path).length).toBeGreaterThan(1);
  });

  it.concurrent('after a cut, with a server that ignores ranges', async ({ box }) => {
    const { hub, path, pull } = await supply(box);
    hub.fault(path, { kind: 'cut', afterBytes: 150_000 }, { kind: 'ignore-range' });
    await pull('hub');
    expect(hub.requestsTo(path)[1]?.headers.range).toBeDefined();
  });
});

describe('a source that always fails is named, and the next one delivers', () => {
  it.concurrent.for(some(ALWAYS, 6))('%s', async ([, fault, code], { box }) => {
    const { hub, path, pull } = await supply(box);
    hub.faultAlways(path, fault);
    const { failures } = await pull('hub,mirror');
    expect(failures.find((failure) => failure.path === 'onnx/model.onnx')).toMatchObject({ code });
    expect(hub.bytesSent).toBeLessThan(40_000_000);
  });

  it.concurrent('a redirect to itself, after at most 5 hops', async ({ box }) => {
    const { hub, path, pull } = await supply(box);
    hub.faultAlways(path, { kind: 'redirect', location: path });
    expect((await pull('hub,mirror')).failures[0]).toMatchObject({ code: 'source_refused' });
    expect(hub.requestsTo(path).length).toBeLessThanOrEqual(6);
  });
});

it.concurrent('an archive of traps yields the pinned files only', async ({ box }) => {
  const { hub, model, pull } = await supply(box);
  const escaped = join(await box.folder(), 'escaped');
  const files = [...model.files].map(([path, content]) => ({ path, content }));
  const hostile = tar([
    { path: '../escaped', content: Buffer.from('x') },
    { path: escaped, content: Buffer.from('x') },
    { path: 'onnx', type: '2', link: '/etc' },
    { path: 'onnx/model.onnx', type: '1', link: '/etc/passwd' },
    { path: 'device', type: '3' },
    { path: 'tokenizer.json', content: Buffer.from('not the pinned one') },
    ...files,
    ...files,
  ]);
  hub.put('/model.tar.gz', gzipSync(hostile));
  await pull('mirror', { MODEL_MIRRORS: `${hub.url}/model.tar.gz,${hub.url}` });
  expect([escaped, '/tmp/escaped'].filter(existsSync)).toEqual([]);
});

describe('without a network', () => {
  it.concurrent('a warm boot makes no request', async ({ box }) => {
    const { origin, env } = await box.hub();
    const { daemon } = await box.serving({ ...env, MODEL_SOURCES: 'mirror,hub', MODEL_MIRRORS: origin.url });
    expect(await healthOf(daemon)).toMatchObject({ status: 'ready' });
    expect(origin.requests).toEqual([]);
  });
});
