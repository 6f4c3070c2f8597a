import { chmod, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect } from 'vitest';
import { eventually } from '../support/eventually.js';
import { has } from '../support/tools.js';
import {
  type Box,
  healthOf,
  it,
  LONG,
  longIt,
  MODEL_DIGEST,
  manifest,
  pauseOfRuns,
  some,
  statusOf,
  volumeProblem,
  whole,
} from './box.js';
import { CONTENT_ROT, flipBit, KIND_ROT, LINK_ROT, LOSS, type Rot } from './rot.js';

/** Repaired from the bundled source, even on a busy machine. */
const LIMIT_MS = 10_000;

/** Spoils a blob under load, and expects a repair, evidence, and no failed request. */
async function heals(box: Box, [kind, spoil]: Rot, isLoss = false, nobody = false): Promise<void> {
  const { volume, blob, daemon } = nobody ? await servingAsNobody(box) : await box.serving();
  const { counters: before } = await whole(daemon);
  const load = box.load(daemon);
  await load.answers(10);
  await spoil(blob);
  await box.timed(kind, LIMIT_MS, () =>
    eventually(async () => {
      const { whole: isWhole, counters } = await statusOf(daemon);
      expect(isWhole).toBe(true);
      if (isLoss) expect(counters.downloads).toBeGreaterThan(before.downloads);
      else expect(counters.repairs).toBeGreaterThan(before.repairs);
    }),
  );
  await load.answers(10);
  await load.stop();
  const { quarantine, events } = await statusOf(daemon);
  if (!isLoss) {
    expect(quarantine.length).toBeGreaterThan(0);
    expect(events.map((event) => event.kind)).toContain('corrupt');
  }
  await eventually(async () => expect(await readdir(join(volume, 'ingest'))).toEqual([]));
}

async function servingAsNobody(box: Box) {
  const volume = await box.filledVolume();
  const daemon = await box.asNobody(volume);
  await daemon.ready(60_000);
  return { volume, daemon, blob: join(volume, 'blobs/sha256', MODEL_DIGEST) };
}

describe('a blob that goes bad under load is repaired', () => {
  it.concurrent.for([...some(CONTENT_ROT, 2), ...some(KIND_ROT, 1), ...some(LINK_ROT, 1)])(
    '%s',
    (rot, { box }) => heals(box, rot),
  );
  it.runIf(LONG && has('root') && has('setpriv'))('mode 000, for a daemon that is not root', ({ box }) =>
    heals(box, ['mode 000', (blob) => chmod(blob, 0)], false, true),
  );
});

describe('a blob that is lost under load is fetched again', () => {
  it.concurrent.for(some(LOSS, 1))('%s', (loss, { box }) => heals(box, loss, true));
});

/** Writes through a mapping, which causes no event, and restores the times. */
const MMAP = `
import mmap, os, sys
path = sys.argv[1]
before = os.stat(path)
with open(path, 'r+b') as f:
    m = mmap.mmap(f.fileno(), 0)
    m[5000] ^= 1
    m.flush()
    m.close()
os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
`;

describe('a change without an event is found by the scheduled verification', () => {
  it.runIf(LONG && has('python3'))('a bit, through a mapping', async ({ box }) => {
    const { daemon, blob } = await box.serving({ VERIFY_CRON: '* * * * * *' });
    const { counters } = await whole(daemon);
    const load = box.load(daemon);
    expect(await box.run([blob], {}, ['python3', '-c', MMAP])).toMatchObject({ code: 0 });
    await box.timed('repair', LIMIT_MS, () =>
      eventually(async () => {
        const status = await statusOf(daemon);
        expect(status.whole).toBe(true);
        expect(status.counters.repairs).toBeGreaterThan(counters.repairs);
      }),
    );
    await load.stop();
  });

  longIt('a watched folder that is moved away and comes back without a blob', async ({ box }) => {
    const { daemon, volume } = await box.serving({ VERIFY_CRON: '* * * * * *' });
    await rename(join(volume, 'blobs'), join(volume, '../away'));
    await rm(join(volume, `../away/sha256/${MODEL_DIGEST}`));
    await eventually(async () =>
      expect(await readdir(join(volume, 'blobs/sha256'))).toHaveLength(manifest.files.length),
    );
    await whole(daemon);
  });
});

describe('a disk on which corruption comes back every time', () => {
  longIt('is called unstable, and repairs become rare', async ({ box }) => {
    const { daemon, blob } = await box.serving();
    const load = box.load(daemon);
    let dying = true;
    const disk = (async () => {
      for (let last = 0; dying; await sleep(5)) {
        const inode = (await stat(blob).catch(() => undefined))?.ino ?? 0;
        // Each newly published file goes bad once.
        if (inode !== 0 && inode !== last) await flipBit(blob, 1_000).catch(() => undefined);
        last = inode;
      }
    })();
    expect(await volumeProblem(daemon, 'volume_unstable', 60_000)).toMatch(/replace this disk/);
    expect(await healthOf(daemon)).toMatchObject({ status: 'degraded' });
    expect(await pauseOfRuns(daemon)).toBeGreaterThan(30_000);
    expect((await statusOf(daemon)).events.map(({ kind }) => kind)).toContain('unstable');
    dying = false;
    await disk;
    await load.stop();
  });
});
