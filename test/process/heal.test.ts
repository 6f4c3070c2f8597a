import { chmod, cp, readdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { CacheStatus } from '../../src/api/cache.js';
import type { Health } from '../../src/api/health.js';
import { servingDaemon, startDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { temporaryFolder } from '../support/volume.js';

it('a boot on a volume that has rotted repairs it before anything is loaded', async () => {
  const volume = await temporaryFolder();
  const env = { MODEL_CACHE_DIR: volume, HF_HUB_OFFLINE: '1' };
  const daemon = await servingDaemon(env);
  await daemon.stop();
  const blobs = join(volume, 'blobs/sha256');
  for (const name of await readdir(blobs)) {
    await chmod(join(blobs, name), 0o644);
    await truncate(join(blobs, name), 100);
  }
  const again = await servingDaemon(env);
  const { body } = await again.get<CacheStatus>('/cache/status');
  expect(body).toMatchObject({ whole: true, counters: { repairs: 5 } });
  expect(body.quarantine).toHaveLength(5);
});

it('a boot without a source waits, names the reason and recovers by itself', async () => {
  const source = join(await temporaryFolder(), 'model');
  const daemon = await startDaemon({
    MODEL_SOURCES: 'bundled',
    MODEL_BUNDLED_DIR: source,
  });
  const health = await eventually(async () => {
    const found = await daemon.get<Health>('/health');
    expect(found).toMatchObject({
      status: 503,
      body: { status: 'starting', checks: { cache: { ok: false, code: 'sources_exhausted' } } },
    });
    return found;
  });
  const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
  expect(metrics).toContain('ai_router_cache_whole 0');
  expect(metrics).toContain('ai_router_cache_file_state{path="onnx/model_quantized.onnx",state="missing"} 1');
  expect(health.body.checks.cache.detail).toMatch(/bundled/);
  expect(await daemon.post('/classify', { text: 'hi' })).toMatchObject({
    status: 503,
    body: { code: 'not_ready' },
  });
  await cp('model', source, { recursive: true });
  await daemon.ready();
});
