import { chmod, mkdir, open, readdir, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Decision } from '../../src/api/classify.js';
import { startDaemon, type TestDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { temporaryFolder } from '../support/volume.js';

interface CacheStatus {
  whole: boolean;
  counters: { repairs: number; corruptions: number; downloads: number };
  files: { path: string; state: string }[];
  quarantine: { path: string; reason: string }[];
  events: { kind: string; path?: string; message: string }[];
}

const MODEL = 'afdb6f1a0e45b715d0bb9b11772f032c399babd23bfc31fed1c170afc848bdb1';
const TEXT = 'Write a Python function that merges two sorted lists';

/** Classifies without a pause until told to stop; every answer is kept. */
function load(daemon: TestDaemon, connections = 4) {
  let going = true;
  const answers: { status: number; body: Decision }[] = [];
  const clients = Array.from({ length: connections }, async () => {
    while (going) answers.push(await daemon.post<Decision>('/classify', { text: TEXT }));
  });
  return {
    answers,
    async stop() {
      going = false;
      await Promise.all(clients);
    },
  };
}

async function serving() {
  const volume = await temporaryFolder();
  const daemon = await startDaemon({
    MODEL_CACHE_DIR: volume,
    HF_HUB_OFFLINE: '1',
    VERIFY_CRON: '0 0 29 2 *',
    // Every request must go through the model.
    EMBEDDING_CACHE_BYTES: '0',
  });
  await daemon.ready();
  const status = async () => (await daemon.get<CacheStatus>('/cache/status')).body;
  return { volume, daemon, status, blob: join(volume, 'blobs/sha256', MODEL) };
}

describe('a volume that rots under a serving daemon', () => {
  const rot: [string, (blob: string, volume: string) => Promise<unknown>, string][] = [
    [
      'one bit',
      async (blob) => {
        await chmod(blob, 0o644);
        const file = await open(blob, 'r+');
        const byte = Buffer.alloc(1);
        await file.read(byte, 0, 1, 11_000_000);
        byte[0] = (byte[0] ?? 0) ^ 1;
        await file.write(byte, 0, 1, 11_000_000);
        await file.close();
      },
      'repairs',
    ],
    ['truncation', (blob) => truncate(blob, 1_000_000), 'repairs'],
    [
      'a directory in its place',
      async (blob) => {
        await rm(blob);
        await mkdir(blob);
      },
      'repairs',
    ],
    ['removal', (blob) => rm(blob), 'downloads'],
    ['the whole volume wiped', (_, volume) => rm(volume, { recursive: true }), 'downloads'],
  ];

  it.each(rot)('%s: heals while every request is answered, and right', async (_, spoil, counter) => {
    const { volume, daemon, status, blob } = await serving();
    const before = (await status()).counters;
    const { body: expected } = await daemon.post<Decision>('/classify', { text: TEXT });
    const clients = load(daemon);
    await sleep(200);
    const spoiledAt = clients.answers.length;
    await spoil(blob, volume);
    const until = Date.now() + 15_000;
    for (;;) {
      const { whole, counters } = await status();
      if (whole && counters[counter as keyof typeof counters] > before[counter as keyof typeof counters])
        break;
      if (Date.now() > until) throw new Error(`not healed: ${JSON.stringify(await status())}`);
      await sleep(20);
    }
    await sleep(100);
    await clients.stop();
    expect(clients.answers.length).toBeGreaterThan(spoiledAt);
    for (const { status: code, body } of clients.answers) {
      expect(code).toBe(200);
      expect(body).toEqual(expected);
    }
    const { files, quarantine } = await status();
    expect(files.every(({ state }) => state === 'verified')).toBe(true);
    if (counter === 'repairs') expect(quarantine[0]).toMatchObject({ path: 'onnx/model_quantized.onnx' });
    expect((await readdir(join(volume, 'ingest'))).length).toBe(0);
  });
});

describe('a boot on a volume that has rotted', () => {
  it('repairs it before anything is loaded', async () => {
    const { volume, daemon, blob } = await serving();
    await daemon.stop();
    await chmod(blob, 0o644);
    await truncate(blob, 22_972_000);
    const again = await startDaemon({ MODEL_CACHE_DIR: volume, HF_HUB_OFFLINE: '1' });
    await again.ready();
    const { body } = await again.get<CacheStatus>('/cache/status');
    expect(body).toMatchObject({ whole: true, counters: { repairs: 1 } });
    expect(body.quarantine).toHaveLength(1);
  });

  it('waits, names the reason and recovers by itself when no source is there yet', async () => {
    const volume = await temporaryFolder();
    const source = await temporaryFolder();
    const daemon = await startDaemon({
      MODEL_CACHE_DIR: volume,
      MODEL_SOURCES: 'bundled',
      MODEL_BUNDLED_DIR: join(source, 'model'),
    });
    onTestFinished(() => void daemon.child.kill('SIGKILL'));
    const health = await eventually(async () => {
      const found = await daemon.get<{
        status: string;
        checks: { cache: { ok: boolean; code: string; detail: string } };
      }>('/health');
      expect(found.status).toBe(503);
      expect(found.body).toMatchObject({
        status: 'starting',
        checks: { cache: { ok: false, code: 'sources_exhausted' } },
      });
      return found;
    });
    const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
    expect(metrics).toContain('ai_router_cache_whole 0');
    expect(metrics).toContain(
      'ai_router_cache_file_state{path="onnx/model_quantized.onnx",state="missing"} 1',
    );
    expect(health.body.checks.cache.detail).toMatch(/bundled/);
    expect(await daemon.post('/classify', { text: 'hi' })).toMatchObject({
      status: 503,
      body: { code: 'not_ready' },
    });
    const { cp } = await import('node:fs/promises');
    await cp('model', join(source, 'model'), { recursive: true });
    await daemon.ready();
  });
});
