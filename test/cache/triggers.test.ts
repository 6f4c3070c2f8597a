import { unlinkSync } from 'node:fs';
import { chmod, mkdir, open, rename, rm, unlink, utimes, writeFile } from 'node:fs/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { blobPath } from '../../src/cache/layout.js';
import { Reconciler } from '../../src/cache/reconciler.js';
import { ContentStore } from '../../src/cache/store.js';
import { isSchedule, Triggers } from '../../src/cache/triggers.js';
import { eventually } from '../support/eventually.js';
import { memorySource, recordingLog, smallModel, temporaryFolder } from '../support/volume.js';

const NEVER = '0 0 29 2 *';

/** @param onVerified runs after the first verification, before anything watches */
async function setup(cron = NEVER, onVerified: (blob: string) => void = () => undefined) {
  const { manifest, files } = smallModel();
  const [model] = manifest.files;
  if (!model) throw new Error('no model');
  const store = new ContentStore(await temporaryFolder());
  const sources = [memorySource(files)];
  const log = recordingLog();
  const reconciler = new Reconciler({ manifest, store, sources, log });
  const blob = blobPath(store.layout, model.sha256);
  const off = reconciler.onRun(() => {
    off();
    onVerified(blob);
  });
  // The triggers compare each blob with its last verification, and the last blob of the manifest last.
  const looked = vi.spyOn(reconciler, 'isAsRead');
  const triggers = new Triggers({ manifest, layout: store.layout, reconciler, cron, log });
  onTestFinished(async () => {
    await triggers.close();
    await reconciler.close();
  });
  await reconciler.request('boot');
  /** Waits until the triggers have looked at every blob once more, and found them all as they were. */
  const afterALook = async (): Promise<void> => {
    const before = looked.mock.calls.length;
    await eventually(() =>
      expect(looked.mock.calls.length).toBeGreaterThanOrEqual(before + manifest.files.length),
    );
    await Promise.all(looked.mock.results.map(({ value }) => value));
  };
  // The watch starts in the background, and looks around when it stands.
  await afterALook();
  const runs = () => reconciler.state.counters.verifications;
  return { store, sources, log, reconciler, triggers, runs, blob, afterALook };
}

describe('Triggers', () => {
  it('do not react to our own writes', async () => {
    const { store, runs, reconciler, blob, afterALook } = await setup();
    expect(runs()).toBe(1);
    // A repair is our own write as well: one run for the corruption, none for the mending.
    await writeFile(`${store.layout.root}/other`, 'rot');
    await rename(`${store.layout.root}/other`, blob);
    await eventually(() => expect(reconciler.lastReport).toMatchObject({ reason: 'change', whole: true }));
    await afterALook();
    expect(runs()).toBe(2);
  });

  it('tell a change once where no source replaces what is corrupt', async () => {
    const { store, sources, log, reconciler, blob, afterALook } = await setup();
    sources.pop();
    await writeFile(`${store.layout.root}/other`, 'rot');
    await rename(`${store.layout.root}/other`, blob);
    await eventually(() => expect(reconciler.lastReport).toMatchObject({ reason: 'change', whole: false }));
    // To set it aside changes the file, too: it gets a second name.
    await afterALook();
    const told = log.lines.filter(({ message }) => message === 'external change detected on volume');
    expect(told).toHaveLength(1);
  });

  it('request a verification when a bit flips', async () => {
    const { reconciler, blob } = await setup();
    await chmod(blob, 0o644);
    const handle = await open(blob, 'r+');
    await handle.write(Buffer.of(1), 0, 1, 1000);
    await handle.write(Buffer.of(2), 0, 1, 1001);
    await handle.close();
    await eventually(() => expect(reconciler.state.counters.repairs).toBe(1));
  });

  it('request a verification when only the mode changes', async () => {
    const { reconciler, blob } = await setup();
    await chmod(blob, 0o600);
    await eventually(() => expect(reconciler.lastReport).toMatchObject({ reason: 'change' }));
  });

  it('request one when a blob is removed before the watch stands', async () => {
    const { reconciler } = await setup(NEVER, (blob) => unlinkSync(blob));
    await eventually(() => expect(reconciler.lastReport).toMatchObject({ reason: 'change' }));
  });

  it('request one when a blob is removed', async () => {
    const { reconciler, blob } = await setup();
    await unlink(blob);
    await eventually(() => expect(reconciler.lastReport).toMatchObject({ reason: 'change', whole: true }));
  });

  it('watch again after the whole volume was wiped', async () => {
    const { reconciler, store, blob, afterALook } = await setup();
    await rm(store.layout.root, { recursive: true });
    await eventually(() => expect(reconciler.lastReport).toMatchObject({ reason: 'change', whole: true }));
    await afterALook();
    await unlink(blob);
    await eventually(() => expect(reconciler.state.counters.downloads).toBe(7));
  });

  it('make at most a few runs of ten thousand events', async () => {
    const { runs, store, afterALook } = await setup();
    await mkdir(`${store.layout.blobs}/noise`);
    for (let round = 0; round < 10_000; round += 1) {
      await utimes(`${store.layout.blobs}/noise`, round, round);
    }
    await afterALook();
    // Nothing that is pinned was touched.
    expect(runs()).toBe(1);
  });

  it('verify by the clock, and tell when the next run is due', async () => {
    const { reconciler, triggers } = await setup('* * * * * *');
    expect(triggers.nextRun?.getTime()).toBeGreaterThan(Date.now() - 1_000);
    await eventually(() => expect(reconciler.lastReport).toMatchObject({ reason: 'schedule' }));
    await triggers.close();
    expect(triggers.nextRun).toBeUndefined();
    expect(triggers.watching).toBe(false);
  });

  it('know a schedule from nonsense', () => {
    expect(isSchedule('17 * * * *')).toBe(true);
    expect(isSchedule('*/30 * * * * *')).toBe(true);
    expect(isSchedule('every hour')).toBe(false);
    expect(isSchedule('61 * * * *')).toBe(false);
  });
});
