import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { layoutOf } from '../../src/cache/layout.js';
import { CureWatch } from '../../src/cache/recovery-probe.js';
import { eventually } from '../support/eventually.js';
import { temporaryFolder } from '../support/volume.js';

function watchOn(root: string) {
  const watch = new CureWatch(layoutOf(root), 20);
  onTestFinished(() => watch.stop());
  return watch;
}

describe('CureWatch', () => {
  it('tells once when a trouble that it saw is over', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'plain'), '');
    const root = join(folder, 'plain', 'volume');
    const onCured = vi.fn();
    watchOn(root).start('volume_unavailable', 0, onCured);
    await sleep(80);
    expect(onCured).not.toHaveBeenCalled();
    const { rm } = await import('node:fs/promises');
    await rm(join(folder, 'plain'));
    await eventually(() => expect(onCured).toHaveBeenCalledTimes(1));
    await sleep(80);
    expect(onCured).toHaveBeenCalledTimes(1);
  });

  it('leaves a trouble that it cannot see to the pauses of the reconciler', async () => {
    const onCured = vi.fn();
    // Room enough as far as a look can tell: it may be a quota.
    watchOn(await temporaryFolder()).start('volume_full', 1, onCured);
    await sleep(100);
    expect(onCured).not.toHaveBeenCalled();
  });

  it('tells nothing after it was stopped', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'plain'), '');
    const onCured = vi.fn();
    const watch = watchOn(join(folder, 'plain', 'volume'));
    watch.start('volume_unavailable', 0, onCured);
    await sleep(40);
    watch.stop();
    const { rm } = await import('node:fs/promises');
    await rm(join(folder, 'plain'));
    await sleep(80);
    expect(onCured).not.toHaveBeenCalled();
  });
});
