import { createHash } from 'node:crypto';
import { chmod, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Row } from '../../campaign/row.js';
import { check, type Trial } from '../../campaign/trial.js';
import { blobPath } from '../../src/cache/layout.js';
import { OWNER } from '../../src/cache/owner.js';
import { Reconciler } from '../../src/cache/reconciler.js';
import { ContentStore } from '../../src/cache/store.js';
import type { DiskChange } from '../../test/support/disk-changes.mjs';
import {
  type DiskState,
  materialize,
  recordChanges,
  statesAfterPowerLoss,
} from '../../test/support/power-loss.js';
import { memorySource, smallModel } from '../../test/support/small-model.js';
import { survey } from '../volume.js';

const nothing = (): void => undefined;
const SILENT = { debug: nothing, info: nothing, warn: nothing, error: nothing };

type Model = ReturnType<typeof smallModel>;

async function reconcile({ manifest, files }: Model, root: string) {
  const store = new ContentStore(root);
  const source = memorySource(files, { chunkBytes: 1_000 });
  const reconciler = new Reconciler({ manifest, store, sources: [source], log: SILENT });
  const report = await reconciler.request('boot');
  await reconciler.close();
  return report;
}

/** Every distinct state, from every moment on from `first`, is built, judged and booted from. */
async function bootFromAll(
  trial: Trial,
  model: Model,
  root: string,
  changes: readonly DiskChange[],
  first: number,
  mayBeTorn: string | undefined,
): Promise<void> {
  const seen = new Set<string>();
  const most = trial.short ? 25 : Number.POSITIVE_INFINITY;
  for (let crashAt = first; crashAt <= changes.length; crashAt += 1) {
    if (trial.short && trial.random.next() < 0.6) continue;
    for (const state of statesAfterPowerLoss(changes, crashAt, root)) {
      const key = keyOf(state);
      if (seen.has(key) || seen.size >= most) continue;
      seen.add(key);
      await trial.attempt(state.story, async () => {
        const folder = join(await trial.sandbox.folder(), 'volume');
        await materialize(orphaned(state), folder);
        const { torn } = await survey(folder, model.manifest.files);
        check(
          torn.every((sha256) => sha256 === mayBeTorn),
          `torn: ${torn.join()}`,
        );
        const since = performance.now();
        const report = await reconcile(model, folder);
        trial.healed(performance.now() - since);
        check(report.whole, () => `not whole: ${report.error?.message}`);
        check((await readdir(join(folder, 'ingest'))).length === 0, 'something is left in ingest/');
        trial.left((await survey(folder, model.manifest.files)).strayBytes);
        await rm(folder, { recursive: true });
      });
    }
  }
  trial.note(`${changes.length - first} changes of the disk, ${seen.size} states booted from`);
}

/** Its writer died with the power, whereas this process, which made the record, lives. */
function orphaned({ entries, story }: DiskState): DiskState {
  const [place] = OWNER.split('-');
  const dead = `${place}-4194303-1`;
  return { story, entries: new Map([...entries].map(([path, bytes]) => [path.replace(OWNER, dead), bytes])) };
}

function keyOf({ entries }: DiskState): string {
  return [...entries]
    .map(([path, bytes]) => `${path} ${bytes && createHash('sha1').update(bytes).digest('hex')}`)
    .join('\n');
}

async function powerLoss(trial: Trial): Promise<void> {
  const model = smallModel(trial.short ? 2_000 : 3_000, (length) => trial.random.bytes(length));
  const root = join(await trial.sandbox.folder(), 'volume');
  const build = await recordChanges(root, () => reconcile(model, root));
  await bootFromAll(trial, model, root, build, 0, undefined);
  if (trial.short) return;
  const [file] = model.manifest.files;
  if (!file) return;
  const blob = blobPath(new ContentStore(root).layout, file.sha256);
  await chmod(blob, 0o644);
  await writeFile(blob, 'rot');
  const rot: DiskChange[] = [
    { op: 'truncate', path: blob, size: 0 },
    { op: 'write', path: blob, offset: 0, bytes: Buffer.from('rot') },
    { op: 'sync', path: blob },
  ];
  const repair = await recordChanges(root, () => reconcile(model, root));
  const changes = [...build, ...rot, ...repair];
  await bootFromAll(trial, model, root, changes, build.length + rot.length, file.sha256);
}

export const POWER_LOSS: readonly Row[] = [{ number: 16, fault: 'power loss', run: powerLoss }];
