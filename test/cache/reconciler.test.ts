import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { blobPath } from '../../src/cache/layout.js';
import { Reconciler, type ReconcilerOptions } from '../../src/cache/reconciler.js';
import type { Source } from '../../src/cache/source.js';
import { ContentStore } from '../../src/cache/store.js';
import { VerifiedBytes } from '../../src/cache/verified-bytes.js';
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
      error: undefined,
    });
    expect(source.delivered).toHaveLength(3);
    expect(await reconciler.request('schedule')).toMatchObject({ whole: true, fetched: [] });
    expect(source.delivered).toHaveLength(3);
    expect(reconciler.ledger.counters).toMatchObject({ verifications: 2, downloads: 3, corruptions: 0 });
  });

  it('repairs what rotted, and keeps the evidence', async () => {
    const { reconciler, store, blobs, source } = await setup();
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
    expect(reconciler.ledger.counters).toMatchObject({ corruptions: 1, repairs: 1 });
    expect(reconciler.ledger.events.map(({ kind }) => kind).slice(0, 3)).toEqual([
      'repaired',
      'quarantined',
      'corrupt',
    ]);
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
    expect(reconciler.ledger.counters.verifications).toBe(2);
  });

  it('says where each file comes from, also in the next process', async () => {
    const first = await setup();
    await first.reconciler.request('boot');
    const store = new ContentStore(first.root);
    const second = new Reconciler({ manifest: first.manifest, store, sources: [], log: recordingLog() });
    await second.request('boot');
    await second.close();
    expect([...second.ledger.files.values()].map(({ source }) => source)).toEqual(Array(3).fill('memory'));
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
    expect(offline.ledger.files.get('tokenizer.json')).toMatchObject({ state: 'corrupt' });
    expect(await reconciler.request('schedule')).toMatchObject({ whole: true, fetched: ['tokenizer.json'] });
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

  it('rebuilds a volume that was wiped', async () => {
    const { reconciler, root } = await setup();
    await reconciler.request('boot');
    await rm(root, { recursive: true });
    expect(await reconciler.request('change')).toMatchObject({ whole: true });
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
    expect(reconciler.ledger.events.some(({ kind }) => kind === 'unstable')).toBe(true);
  });

  it('knows its own writes from others’', async () => {
    const { reconciler, manifest, blobs } = await setup();
    const [model] = manifest.files;
    if (!model) throw new Error('no model');
    expect(await reconciler.isAsVerified(model)).toBe(false);
    await reconciler.request('boot');
    expect(await reconciler.isAsVerified(model)).toBe(true);
    await chmod(blobs[0] ?? '', 0o600);
    expect(await reconciler.isAsVerified(model)).toBe(false);
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
    expect(first).toMatchObject({ whole: false, error: undefined });
    await eventually(() => expect(reconciler.volumeProblem).toMatchObject({ code: 'volume_unstable' }));
    expect(reconciler.holdOffMs).toBe(60_000);
    const { verifications } = reconciler.ledger.counters;
    await sleep(200);
    expect(reconciler.ledger.counters.verifications - verifications).toBeLessThanOrEqual(1);
    expect(reconciler.ledger.events.map(({ kind }) => kind)).toContain('unstable');
    expect(blobs).toHaveLength(3);
  });
});
