import { chmod, chown, readdir, rm } from 'node:fs/promises';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Row } from '../../campaign/row.js';
import { check, type Trial } from '../../campaign/trial.js';
import type { TestDaemon } from '../../test/support/daemon-process.js';
import { MODEL_DIGEST } from '../pinned.js';
import { CONTENT_ROT, KIND_ROT, LINK_ROT, type Rot } from '../rot.js';
import { statusOf, until, wholesome } from '../watch.js';
import { dyingDisk } from './dying-disk.js';

/** The aim for a bundled source, from the event to the whole cache. */
const AIM_MS = 2_000;

/** What is not whole after this long has fallen short, even on a machine that is busy with other things. */
const LIMIT_MS = 10_000;

/** So many corruptions within ten minutes are a dying disk, which is slowed down; each daemon gets fewer. */
const ROT_PER_DAEMON = 4;

/** How busy this machine is: a figure that was missed means little without it. */
function loadText(): string {
  return `${loadavg()[0]?.toFixed(1)} on ${availableParallelism()} cores`;
}

/** Command prefix of a daemon that is not root. */
export const AS_NOBODY = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];

async function asNobody(trial: Trial): Promise<{ volume: string; daemon: TestDaemon }> {
  const volume = await trial.sandbox.filledVolume();
  for (const path of ['..', '.', ...(await readdir(volume, { recursive: true }))])
    await chown(join(volume, path), 65534, 65534);
  const command = [...AS_NOBODY, process.execPath, 'dist/main.js', 'serve'];
  return { volume, daemon: await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume }, { command }) };
}

/** Lets a daemon rot under constant load, one kind after the other, and measures how fast it is whole again. */
async function rotUnderLoad(trial: Trial, kinds: readonly Rot[], nobody = false): Promise<void> {
  for (let first = 0; first < kinds.length; first += ROT_PER_DAEMON) {
    const own = async () => {
      const volume = await trial.sandbox.filledVolume();
      return { volume, daemon: await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume }) };
    };
    const { volume, daemon } = nobody ? await asNobody(trial) : await own();
    await daemon.ready(60_000);
    for (const rot of kinds.slice(first, first + ROT_PER_DAEMON)) {
      await trial.attempt(`${rot.kind}, under load`, () => heal(trial, daemon, volume, rot));
    }
    await daemon.stop();
  }
}

async function heal(trial: Trial, daemon: TestDaemon, volume: string, rot: Rot): Promise<void> {
  const { counters: before } = await wholesome(daemon);
  const load = trial.sandbox.load(daemon);
  await sleep(100);
  await rot.spoil(join(volume, 'blobs/sha256', MODEL_DIGEST));
  const spoiledAt = performance.now();
  const healed = await until(`the repair of: ${rot.kind}`, 20_000, async () => {
    const status = await statusOf(daemon);
    const { repairs, downloads } = status.counters;
    const moved = rot.corrupts ? repairs > before.repairs : downloads > before.downloads;
    return status.whole && moved ? status : undefined;
  });
  const ms = performance.now() - spoiledAt;
  trial.healed(ms);
  await sleep(100);
  trial.requests(await load.stop());
  check(ms < LIMIT_MS, `took ${Math.round(ms)} ms to heal`);
  if (ms > AIM_MS) trial.note(`${rot.kind}: ${Math.round(ms)} ms, over the aim; load average ${loadText()}`);
  if (rot.corrupts) {
    check(healed.quarantine.length > 0, 'nothing in quarantine');
    check(
      healed.events.some(({ kind }) => kind === 'corrupt'),
      'no event says that it was corrupt',
    );
  }
  check((await readdir(join(volume, 'ingest'))).length === 0, 'something is left in ingest/');
  // The hints of our own repair settle before the next kind.
  await sleep(300);
}

/** A wipe, which takes the watched folder with it. */
const WIPE: readonly Rot[] = [
  { kind: 'removed', corrupts: false, spoil: (blob) => rm(blob) },
  {
    kind: 'volume wiped, its root too',
    corrupts: false,
    spoil: (blob) => rm(join(blob, '../../..'), { recursive: true }),
  },
  {
    kind: 'wiped again',
    corrupts: false,
    spoil: (blob) => rm(join(blob, '../../..'), { recursive: true }),
  },
  {
    kind: 'contents of the volume wiped',
    corrupts: false,
    spoil: async (blob) => {
      const root = join(blob, '../../..');
      for (const name of await readdir(root)) await rm(join(root, name), { recursive: true });
    },
  },
];

const UNREADABLE: readonly Rot[] = [
  { kind: 'mode 000, not root', corrupts: true, spoil: (blob) => chmod(blob, 0) },
];

export const HEALING: readonly Row[] = [
  {
    number: 7,
    fault: 'FIFO, directory, socket where a blob belongs',
    run: (trial) => rotUnderLoad(trial, trial.short ? KIND_ROT.slice(0, 1) : KIND_ROT),
  },
  {
    number: 8,
    fault: 'symlink for a blob or its parent',
    async run(trial) {
      const above: Rot = {
        kind: 'link for the folder of blobs',
        corrupts: false,
        spoil: async (blob) => {
          const { rename, symlink } = await import('node:fs/promises');
          const blobs = join(blob, '../..');
          await rename(blobs, join(blobs, '../../elsewhere'));
          await symlink('../elsewhere', blobs);
        },
      };
      await rotUnderLoad(trial, trial.short ? LINK_ROT.slice(0, 1) : [...LINK_ROT, above]);
    },
  },
  {
    number: 9,
    fault: 'bit flip, zeroed tail, truncated, sparse, extended, replaced, mode 000',
    async run(trial) {
      await rotUnderLoad(trial, trial.short ? CONTENT_ROT.slice(0, 2) : CONTENT_ROT);
      if (trial.short) return;
      await dyingDisk(trial);
      await trial.attemptWith(['root', 'setpriv'], 'a daemon that is not root', () =>
        rotUnderLoad(trial, UNREADABLE, true),
      );
    },
  },
  {
    number: 11,
    fault: 'removed or wiped while serving',
    run: (trial) => rotUnderLoad(trial, trial.short ? WIPE.slice(1, 2) : WIPE),
  },
];
