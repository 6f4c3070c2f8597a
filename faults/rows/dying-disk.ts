import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { check, type Trial } from '../../campaign/trial.js';
import { MODEL_DIGEST } from '../pinned.js';
import { flipBit } from '../rot.js';
import { healthOf, statusOf, volumeProblem } from '../watch.js';

/**
 * A disk on which corruption comes back: whatever is written goes bad at once. It has to get a name, and repairs
 * have to become rare; the model in memory serves on.
 */
export async function dyingDisk(trial: Trial): Promise<void> {
  await trial.attempt('corruption that comes back every time', async () => {
    const volume = await trial.sandbox.filledVolume();
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume });
    await daemon.ready(60_000);
    const load = trial.sandbox.load(daemon);
    const blob = join(volume, 'blobs/sha256', MODEL_DIGEST);
    let dying = true;
    const disk = (async () => {
      let last = 0;
      while (dying) {
        const inode = await inodeOf(blob);
        // Each newly published file goes bad once.
        if (inode !== 0 && inode !== last) await flipBit(blob, 1_000).catch(() => undefined);
        last = inode;
        await sleep(5);
      }
    })();
    try {
      const message = await volumeProblem(daemon, 'volume_unstable', 60_000);
      check(/replace this disk/.test(message), `no remedy: ${message}`);
      check((await healthOf(daemon)).status === 'degraded', 'not degraded');
      const before = (await statusOf(daemon)).counters.verifications;
      await sleep(6_000);
      const { counters, events } = await statusOf(daemon);
      check(counters.verifications - before <= 1, `${counters.verifications - before} runs in 6 s`);
      check(
        events.some(({ kind }) => kind === 'unstable'),
        'no event says so',
      );
    } finally {
      dying = false;
      await disk;
    }
    trial.requests(await load.stop());
  });
}

async function inodeOf(path: string): Promise<number> {
  try {
    const file = await open(path, 'r');
    try {
      return (await file.stat()).ino;
    } finally {
      await file.close();
    }
  } catch {
    return 0;
  }
}
