import { cp, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { decodeHead, decodeHeads } from '../../src/scoring/head/head-cache.js';
import { startDaemon } from '../support/daemon.js';
import { temporaryFolder } from '../support/volume.js';

/** Written by version 0.1 with a route put over HTTP; without the blobs of the model, which are pinned. */
const FIXTURE = 'test/fixtures/volume-0.1';
const KEY = 'an-admin-key-of-the-upgrade-test';

it('a volume of version 0.1 boots, serves its route version and can be rolled back', async () => {
  const volume = join(await temporaryFolder(), 'volume');
  await cp(FIXTURE, volume, { recursive: true });
  const daemon = await startDaemon({
    MODEL_CACHE_DIR: volume,
    ROUTES_FILE: join(FIXTURE, 'routes.yaml'),
    HF_HUB_OFFLINE: '1',
    ADMIN_KEYS: KEY,
  });
  await daemon.ready(60_000);
  const routes = async () => {
    const response = await fetch(`${daemon.url}/routes`);
    const body = (await response.json()) as { routes: { name: string }[] };
    return { etag: response.headers.get('etag') ?? '', names: body.routes.map(({ name }) => name).sort() };
  };
  const before = await routes();
  expect(before.names).toEqual(['music', 'refunds', 'weather']);
  const response = await fetch(`${daemon.url}/routes/rollback`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}`, 'if-match': before.etag, 'content-type': 'application/json' },
    body: '{}',
  });
  expect(response.status).toBe(200);
  expect((await routes()).names).toEqual(['refunds', 'weather']);
  expect(await readdir(join(volume, 'quarantine'))).toEqual(await readdir(join(FIXTURE, 'quarantine')));
});

it('the file of heads of version 0.1 can be read; its heads have another version and are trained anew', async () => {
  const folder = join(FIXTURE, 'vectors');
  const [name] = (await readdir(folder)).filter((file) => file.endsWith('.heads.bin'));
  const decoded = decodeHeads(await readFile(join(folder, name ?? '')));
  if (!decoded.ok) throw new Error(decoded.fault);
  expect(decoded.table.size).toBe(2);
  for (const head of decoded.table.values()) {
    expect(() => decodeHead(head, { routes: 3, dimension: 384 })).toThrow();
  }
});
