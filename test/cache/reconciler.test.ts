import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { blobPath } from '../../src/cache/layout.js';
import { Reconciler, type ReconcilerOptions } from '../../src/cache/reconciler.js';
import { VerifiedBytes } from '../../src/cache/reconciliation.js';
import type { Source } from '../../src/cache/source.js';
import { createMirrorSource } from '../../src/cache/sources/files.js';
import { ContentStore } from '../../src/cache/store.js';
import { AppError } from '../../src/shared/errors.js';
import { eventually } from '../support/eventually.js';
import { memorySource, recordingLog, smallModel, temporaryFolder } from '../support/volume.js';

async function setup(options: Partial<ReconcilerOptions> & { root?: string } = {}) {
  const { manifest, files } = smallModel();
  const root = options.root ?? (await temporaryFolder());
  const store = new ContentStore(root);
  const source = memorySource(files);
  const log = recordingLog();
  const reconciler = new Reconciler({ manifest, store, sources: [source], log, ...options });
  onTestFinished(() => reconciler.close());
  const blobs = manifest.files.map((file) => blobPath(store.layout, file.sha256));
  return { manifest, files, root, store, source, log, reconciler, blobs };
}

async function spoil(blob: string | undefined): Promise<void> {
  await chmod(blob ?? '', 0o644);
  await truncate(blob ?? '', 3);
}

describe('Reconciler', () => {
  it('fills an empty volume, then fetches nothing more', async () => {
    const { reconciler, source, files } = await setup();
    expect(await reconciler.request('boot')).toMatchObject({
      reason: 'boot',
      whole: true,
      missing: [...files.keys()],
      fetched: [...files.keys()],
      error: null,
    });
    expect(source.delivered).toHaveLength(3);
    // Nothing is gone that was never there.
    expect(reconciler.state.events.map(({ kind }) => kind)).toEqual(Array(3).fill('downloaded'));
    expect(await reconciler.request('schedule')).toMatchObject({ whole: true, fetched: [] });
    expect(source.delivered).toHaveLength(3);
    expect(reconciler.state.counters).toMatchObject({ verifications: 2, downloads: 3, corruptions: 0 });
  });

  it('repairs what rotted, and keeps the evidence', async () => {
    const { reconciler, store, blobs, source, log } = await setup();
    await reconciler.request('boot');
    await spoil(blobs[0]);
    const report = await reconciler.request('schedule');
    expect(report).toMatchObject({ whole: true, corrupt: ['onnx/model.onnx'], fetched: ['onnx/model.onnx'] });
    expect(await store.quarantined()).toMatchObject(
      [{ path: 'onnx/model.onnx', reason: /size is 3/ }].map((entry) => ({
        ...entry,
        reason: expect.stringMatching(entry.reason),
      })),
    );
    expect(source.delivered).toHaveLength(4);
    expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
    expect(reconciler.state.counters).toMatchObject({ corruptions: 1, repairs: 1 });
    expect(reconciler.state.events.map(({ kind }) => kind).slice(0, 3)).toEqual([
      'repaired',
      'quarantined',
      'corrupt',
    ]);
  });

  it('has fetched nothing, and says nothing of a failure, where a file was put back while no source delivered it', async () => {
    const { reconciler, source, blobs, files, log } = await setup();
    await reconciler.request('boot');
    await spoil(blobs[0]);
    source.deliver = async function* () {
      yield* [];
      await writeFile(blobs[0] ?? '', files.get('onnx/model.onnx') ?? '');
      throw new AppError('source_unreachable', 'no network');
    };
    const report = await reconciler.request('retry');
    expect(report).toMatchObject({ whole: true, fetched: [], error: null });
    expect(report.healed).toMatchObject([{ path: 'onnx/model.onnx' }]);
    expect(reconciler.retryAt).toBeUndefined();
    expect(log.lines.filter(({ message }) => /not whole/.test(message))).toEqual([]);
  });

  it('hands over the bytes that it verified, rotten ones never', async () => {
    const { manifest, files } = smallModel();
    const [model, ...others] = manifest.files;
    if (!model) throw new Error('no files');
    const verified = new VerifiedBytes([model]);
    const source = memorySource(files);
    const { reconciler, store } = await setup({ manifest, sources: [source], verified });
    const blob = blobPath(store.layout, model.sha256);
    await reconciler.request('boot');
    expect(verified.take(model)?.equals(files.get(model.path) as Buffer)).toBe(true);
    for (const other of others) expect(verified.take(other)).toBeUndefined();
    await chmod(blob, 0o644);
    await writeFile(blob, randomBytes(model.size));
    source.deliver = () => {
      throw new AppError('source_unreachable', 'away');
    };
    await reconciler.request('schedule');
    expect(verified.take(model)).toBeUndefined();
  });

  it('runs one at a time and queues at most one more', async () => {
    const { reconciler } = await setup();
    const requests = Array.from({ length: 10_000 }, () => reconciler.request('change'));
    expect(new Set(requests).size).toBe(2);
    await Promise.all(requests);
    expect(reconciler.state.counters.verifications).toBe(2);
  });

  it('says where each file comes from, also in the next process', async () => {
    const first = await setup();
    await first.reconciler.request('boot');
    const store = new ContentStore(first.root);
    const second = new Reconciler({ manifest: first.manifest, store, sources: [], log: recordingLog() });
    await second.request('boot');
    await second.close();
    expect([...second.state.files.values()].map(({ source }) => source)).toEqual(Array(3).fill('memory'));
    await writeFile(store.layout.state, '{"schema": 1, "files": 7');
    expect(await first.reconciler.request('schedule')).toMatchObject({ whole: true });
    expect(JSON.parse(await readFile(store.layout.state, 'utf8'))).toMatchObject({ schema: 1 });
  });

  it('tries again by itself when no source delivers', async () => {
    let available = false;
    const { manifest, files } = smallModel();
    const late: Source = {
      name: 'late',
      concurrency: 1,
      async *deliver(wanted, signal) {
        if (!available) throw new AppError('source_unreachable', 'connection refused', { retryable: true });
        yield* memorySource(files).deliver(wanted, signal);
      },
    };
    const reconciler = new Reconciler({
      manifest,
      store: new ContentStore(await temporaryFolder()),
      sources: [late],
      log: recordingLog(),
      timing: { retryMinMs: 20, retryMaxMs: 40 },
    });
    onTestFinished(() => reconciler.close());
    const report = await reconciler.request('boot');
    expect(report).toMatchObject({ whole: false, error: { code: 'sources_exhausted' } });
    expect(report.failures[0]).toMatchObject({ source: 'late', code: 'source_unreachable' });
    expect(reconciler.retryAt).toBeGreaterThan(Date.now() - 100);
    available = true;
    const whole = new Promise<void>((resolve) => reconciler.onRun((run) => run.whole && resolve()));
    await whole;
    expect(reconciler.lastReport).toMatchObject({ reason: 'retry', whole: true });
    expect(reconciler.retryAt).toBeUndefined();
  });

  it('keeps a bad blob that cannot be replaced yet, and its evidence once', async () => {
    const { reconciler, store, blobs, manifest } = await setup();
    await reconciler.request('boot');
    const offline = new Reconciler({ manifest, store, sources: [], log: recordingLog() });
    onTestFinished(() => offline.close());
    await spoil(blobs[1]);
    for (let round = 0; round < 3; round += 1) {
      expect(await offline.request('schedule')).toMatchObject({ whole: false, corrupt: ['tokenizer.json'] });
    }
    expect(await store.quarantined()).toHaveLength(1);
    expect(offline.state.files.get('tokenizer.json')).toMatchObject({ state: 'corrupt' });
    // However often it is tried, it is one corruption.
    expect(offline.state.counters).toMatchObject({ corruptions: 1, repairs: 0 });
    expect(offline.state.events.map(({ kind }) => kind)).toEqual(['failed', 'quarantined', 'corrupt']);
    expect(await reconciler.request('schedule')).toMatchObject({ whole: true, fetched: ['tokenizer.json'] });
    // And it is repaired.
    expect(await offline.request('schedule')).toMatchObject({
      whole: true,
      healed: [{ path: 'tokenizer.json' }],
    });
    expect(offline.state.counters).toMatchObject({ corruptions: 1, repairs: 1 });
    expect(offline.state.events[0]).toMatchObject({ kind: 'repaired', path: 'tokenizer.json' });
  });

  it('names a volume that is no folder, and finds a good one later', async () => {
    const folder = await temporaryFolder();
    await writeFile(`${folder}/volume`, 'in the way');
    const { reconciler, log } = await setup({
      root: `${folder}/volume`,
      timing: { retryMinMs: 20, retryMaxMs: 40 },
    });
    expect(await reconciler.request('boot')).toMatchObject({
      whole: false,
      error: { code: 'volume_unavailable' },
    });
    expect(reconciler.volumeProblem).toMatchObject({ code: 'volume_unavailable' });
    expect(log.lines.some(({ level }) => level === 'error')).toBe(true);
    await rm(`${folder}/volume`);
    await new Promise<void>((resolve) => reconciler.onRun((run) => run.whole && resolve()));
    expect(reconciler.volumeProblem).toBeUndefined();
  });

  it('holds off early verifications when corruption keeps coming back', async () => {
    const { reconciler, blobs } = await setup({ timing: { unstableRepairs: 2 } });
    await reconciler.request('boot');
    expect(reconciler.holdOffMs).toBe(0);
    for (let round = 0; round < 2; round += 1) {
      await spoil(blobs[0]);
      await reconciler.request('change');
    }
    expect(reconciler.holdOffMs).toBeGreaterThan(0);
    expect(reconciler.state.events.some(({ kind }) => kind === 'unstable')).toBe(true);
  });

  it('knows its own writes from others’', async () => {
    const { reconciler, manifest, blobs } = await setup();
    const [model] = manifest.files;
    if (!model) throw new Error('no model');
    expect(await reconciler.isAsRead(model)).toBe(false);
    await reconciler.request('boot');
    expect(await reconciler.isAsRead(model)).toBe(true);
    await chmod(blobs[0] ?? '', 0o600);
    expect(await reconciler.isAsRead(model)).toBe(false);
  });

  it('ignores what is not its own, such as lost+found', async () => {
    const { reconciler, root } = await setup();
    await mkdir(`${root}/lost+found`, { mode: 0o000, recursive: true });
    await mkdir(`${root}/blobs/sha256`, { recursive: true });
    await writeFile(`${root}/blobs/sha256/${'f'.repeat(64)}`, randomBytes(10));
    expect(await reconciler.request('boot')).toMatchObject({ whole: true });
    expect(await readdir(`${root}/blobs/sha256`)).toContain('f'.repeat(64));
  });

  it('refuses requests once closed', async () => {
    const { reconciler } = await setup();
    await reconciler.close();
    await expect(reconciler.request('boot')).rejects.toMatchObject({ code: 'draining' });
  });

  it('tries again when what was written is bad at once, and names a disk on which that goes on', async () => {
    const { reconciler, store, blobs } = await setup({
      timing: { retryMinMs: 10, retryMaxMs: 20, unstableRepairs: 3, unstableHoldOffMs: 60_000 },
    });
    await reconciler.request('boot');
    // A disk that returns other bytes than were written, from now on.
    const verify = store.verify.bind(store);
    store.verify = async (file) =>
      file.path === 'onnx/model.onnx' ? { state: 'corrupt', reason: 'rotten' } : verify(file);
    const first = await reconciler.request('schedule');
    expect(first).toMatchObject({ whole: false, error: null });
    await eventually(() => expect(reconciler.volumeProblem).toMatchObject({ code: 'volume_unstable' }));
    expect(reconciler.holdOffMs).toBe(60_000);
    // The next attempt is not 20 ms away any more.
    await eventually(() => expect((reconciler.retryAt ?? 0) - Date.now()).toBeGreaterThan(50_000));
    expect(reconciler.state.events.map(({ kind }) => kind)).toContain('unstable');
    expect(blobs).toHaveLength(3);
  });

  it('names a dead source once, however many files it lacks and however often it is tried', async () => {
    const { manifest } = smallModel();
    const gone = createMirrorSource({ url: 'http://127.0.0.1:9', repo: 'a/b', revision: 'c' });
    onTestFinished(() => gone.close());
    const { reconciler, log } = await setup({ manifest, sources: [gone] });
    for (let round = 0; round < 3; round += 1) {
      const { failures, error } = await reconciler.request('retry');
      expect(failures).toHaveLength(1);
      expect(error?.message.match(/ECONNREFUSED/g)).toHaveLength(1);
    }
    expect(reconciler.state.events.map(({ kind }) => kind)).toEqual(['failed', 'source_failed']);
    // One line for each attempt, which says when the next is due and holds no stack; the cause is in the first.
    expect(log.lines.map(({ level, message }) => [level, message.split(':')[0]])).toEqual([
      ['error', 'cache is not whole'],
      ['warn', 'cache is still not whole'],
      ['warn', 'cache is still not whole'],
    ]);
    for (const { details } of log.lines) expect(details).toMatchObject({ retry_in_s: expect.any(Number) });
    for (const { details } of log.lines) expect(details).not.toHaveProperty('err');
  });

  it('is content with a whole cache that cannot be written, and warns once', async () => {
    const { reconciler, store, log } = await setup();
    await reconciler.request('boot');
    store.prepare = async () => {
      throw new AppError('volume_read_only', 'the volume is read-only', { retryable: true });
    };
    for (let round = 0; round < 2; round += 1) {
      expect(await reconciler.request('schedule')).toMatchObject({ whole: true, error: null });
    }
    expect(reconciler.volumeProblem).toBeUndefined();
    expect(reconciler.retryAt).toBeUndefined();
    expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(0);
  });

  it('repairs whatever is written into the quarantine', async () => {
    const { reconciler, store, blobs, manifest } = await setup();
    await reconciler.request('boot');
    const forged = `${store.layout.quarantine}/${manifest.files[0]?.sha256}`;
    await writeFile(`${forged}.99999999999999999999`, '');
    await writeFile(`${forged}.1`, '');
    await writeFile(`${forged}.1.json`, JSON.stringify({ path: '\u001b[2J', reason: 'x'.repeat(5_000) }));
    await spoil(blobs[0]);
    expect(await reconciler.request('schedule')).toMatchObject({ whole: true, fetched: ['onnx/model.onnx'] });
    const listed = await store.quarantined();
    expect(listed).toHaveLength(2);
    expect(listed[1]).toMatchObject({ path: null, reason: 'unknown (its note is missing)' });
  });

  it('believes nothing in state.json that could not be its own', async () => {
    const { reconciler, store, manifest } = await setup();
    await reconciler.request('boot');
    const file = { sha256: manifest.files[0]?.sha256, source: '\u001b[2Jhub' };
    await writeFile(store.layout.state, JSON.stringify({ schema: 1, files: [file] }));
    const next = new Reconciler({ manifest, store, sources: [], log: recordingLog() });
    onTestFinished(() => next.close());
    await next.request('boot');
    expect([...next.state.files.values()].map(({ source }) => source)).toEqual(Array(3).fill(undefined));
  });
});
