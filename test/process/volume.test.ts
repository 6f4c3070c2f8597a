import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import type { Decision } from '../../src/api/classify.js';
import type { HealthReport } from '../../src/api/health.js';
import { startDaemon, type TestDaemon } from '../support/daemon.js';
import { temporaryFolder } from '../support/volume.js';

const OFFLINE = { HF_HUB_OFFLINE: '1' };

async function health(daemon: TestDaemon): Promise<HealthReport & { http: number }> {
  const { status, body } = await daemon.get<HealthReport>('/health');
  return { ...body, http: status };
}

/** Waits until the volume's trouble has its name. */
async function trouble(daemon: TestDaemon, code: string): Promise<HealthReport & { http: number }> {
  const report = await vi.waitFor(
    async () => {
      const found = await health(daemon);
      expect(found.checks.volume).toMatchObject({ ok: false, code });
      return found;
    },
    { timeout: 10_000, interval: 30 },
  );
  const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
  expect(metrics).toContain(`ai_router_volume_problem{code="${code}"} 1`);
  return report;
}

describe('a volume that is no volume is named, and not silently replaced', () => {
  it('not a mount where one is required: waits, with the remedy, and writes nothing', async () => {
    const volume = await temporaryFolder();
    const daemon = await startDaemon({ MODEL_CACHE_DIR: volume, RAILWAY_ENVIRONMENT_ID: 'x', ...OFFLINE });
    const report = await trouble(daemon, 'volume_not_mounted');
    expect(report).toMatchObject({ http: 503, status: 'starting' });
    expect(report.checks.volume?.detail).toMatch(/attach a volume.*REQUIRE_MOUNT=false/);
    expect(await readdir(volume)).toEqual([]);
  });

  it('or serves from memory, degraded, where the setting allows it', async () => {
    const volume = await temporaryFolder();
    const daemon = await startDaemon({
      MODEL_CACHE_DIR: volume,
      REQUIRE_MOUNT: 'true',
      WITHOUT_VOLUME: 'memory',
      ...OFFLINE,
    });
    await daemon.ready();
    expect(await health(daemon)).toMatchObject({ http: 200, status: 'degraded' });
    expect((await daemon.post<Decision>('/classify', { text: 'what is 2 + 2?' })).status).toBe(200);
    expect(await readdir(volume)).toEqual([]);
  });

  it('a folder of other things', async () => {
    const volume = await temporaryFolder();
    await writeFile(join(volume, 'PG_VERSION'), '16');
    const daemon = await startDaemon({ MODEL_CACHE_DIR: volume, ...OFFLINE });
    const report = await trouble(daemon, 'volume_foreign');
    expect(report.checks.volume?.detail).toMatch(/PG_VERSION.*MODEL_CACHE_DIR/);
    expect(await readdir(volume)).toEqual(['PG_VERSION']);
  });

  it('a path below a file', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'plain'), '');
    const daemon = await startDaemon({ MODEL_CACHE_DIR: join(folder, 'plain', 'volume'), ...OFFLINE });
    expect(await trouble(daemon, 'volume_unavailable')).toMatchObject({ http: 503 });
  });
});

const root = process.getuid?.() === 0;

describe.skipIf(!root)('run by another user (needs root to become one)', () => {
  const command = [
    'setpriv',
    '--reuid',
    '65534',
    '--clear-groups',
    process.execPath,
    'dist/main.js',
    'serve',
  ];

  it('a volume of root names the fix', async () => {
    const volume = await temporaryFolder();
    await chmod(volume, 0o755);
    const daemon = await startDaemon({ MODEL_CACHE_DIR: volume, ...OFFLINE }, { command });
    const report = await trouble(daemon, 'volume_read_only');
    expect(report.checks.volume?.detail).toMatch(/user 65534.*RAILWAY_RUN_UID=0/);
  });

  it('a read-only volume with a good cache serves, degraded', async () => {
    const volume = await temporaryFolder();
    const first = await startDaemon({ MODEL_CACHE_DIR: volume, ...OFFLINE });
    await first.ready();
    await first.stop();
    await chmod(volume, 0o755);
    const daemon = await startDaemon({ MODEL_CACHE_DIR: volume, ...OFFLINE }, { command });
    await daemon.ready();
    expect(await health(daemon)).toMatchObject({ http: 200, status: 'degraded' });
    await mkdir(join(volume, 'lost+found'), { mode: 0o700 });
    await sleep(200);
    expect((await daemon.post<Decision>('/classify', { text: 'what is 2 + 2?' })).status).toBe(200);
    expect(await daemon.stop()).toEqual({ code: 0, signal: null });
  });
});
