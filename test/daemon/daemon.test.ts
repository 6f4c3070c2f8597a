import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import { loadManifest } from '../../src/cache/manifest.js';
import { readConfig } from '../../src/config/config.js';
import { Daemon } from '../../src/daemon/daemon.js';
import { WorkerPool } from '../../src/inference/pool.js';
import { eventually } from '../support/eventually.js';
import { isAlive, pidsOf } from '../support/processes.js';
import { recordingLog, temporaryFolder } from '../support/volume.js';

it('a daemon ends though its worker never says whether the model is the right one', async () => {
  const folder = await temporaryFolder();
  const worker = join(folder, 'worker.mjs');
  const source = `import { Socket } from 'node:net';
    const channel = new Socket({ fd: 3, readable: true, writable: true });
    channel.resume().on('close', () => process.exit(0));
    const json = Buffer.from('{"kind":"started"}');
    channel.write(Buffer.concat([Buffer.from([json.length, 0, 0, 0, 0, 0, 0, 0]), json]));`;
  await writeFile(worker, source);
  const config = readConfig({
    PORT: '0',
    HOST: '127.0.0.1',
    MODEL_CACHE_DIR: join(folder, 'volume'),
    MODEL_SOURCES: 'bundled',
  });
  const log = recordingLog();
  const pool = new WorkerPool({ log, workers: 1, workerEntry: pathToFileURL(worker) });
  const manifest = await loadManifest(config.manifestFile);
  const service = new Daemon({ config, manifest, log, version: '0.0.0', pool });
  await service.start();
  // Its routes wait for the model by now.
  await eventually(() => expect(pool.status().waiting).toBeGreaterThan(0));
  expect(pool.status().workers).toEqual([expect.objectContaining({ state: 'loading' })]);
  const pids = pidsOf(pool);
  await service.close();
  expect(pids).toHaveLength(1);
  expect(pids.filter(isAlive)).toEqual([]);
});
