import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { CacheStatus } from '../../src/api/cache.js';
import type { Decision } from '../../src/api/classify.js';
import type { HealthReport } from '../../src/api/health.js';
import { servingDaemon, startDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { startHub } from '../support/hub-origin.js';
import { childrenOf } from '../support/processes.js';
import { temporaryFolder } from '../support/volume.js';

const PATHS = [
  'config.json',
  'onnx/model_quantized.onnx',
  'special_tokens_map.json',
  'tokenizer.json',
  'tokenizer_config.json',
];

describe('a first boot', () => {
  it('fills an empty volume from the bundled copy and classifies', async () => {
    const volume = await temporaryFolder();
    const daemon = await startDaemon({ MODEL_CACHE_DIR: volume });
    // The server listens before the model is there.
    expect((await daemon.get('/livez')).status).toBe(200);
    await daemon.ready();

    const { status, headers, body } = await daemon.post<Decision>('/classify', {
      text: 'Write a Python function that merges two sorted lists',
      explain: true,
    });
    expect(status).toBe(200);
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    expect(headers.get('server-timing')).toMatch(/queue;dur=.*tokenize;dur=.*inference;dur=.*total;dur=/);
    expect(body).toMatchObject({
      route: expect.any(String),
      usage: { tokens: 12, truncated_tokens: 0 },
      model: { id: 'Xenova/all-MiniLM-L6-v2', variant: 'q8', digest: expect.stringMatching(/^sha256:/) },
      routes_digest: expect.stringMatching(/^sha256:/),
    });
    expect(body.candidates[0]?.nearest?.length).toBeGreaterThan(0);

    const cache = await daemon.get<CacheStatus>('/cache/status');
    expect(cache.body.whole).toBe(true);
    expect(cache.body.files.map(({ path, state, source }) => ({ path, state, source }))).toEqual(
      PATHS.map((path) => ({ path, state: 'verified', source: 'bundled' })),
    );
    expect(cache.body.volume).toMatchObject({ path: volume, mount: false, writable: true });
    expect(Date.parse(cache.body.verification.next ?? '')).toBeGreaterThan(Date.now());
    expect(cache.body.verification.cron).toBe('17 * * * *');

    const health = await daemon.get<HealthReport>('/health');
    expect(health.body).toMatchObject({ status: 'ready', phase: 'ready', progress: null });
    expect((await daemon.get('/readyz')).status).toBe(200);
    expect(await daemon.stop()).toEqual({ code: 0, signal: null });
    expect(await readdir(join(volume, 'ingest'))).toEqual([]);
    const fields = daemon.lines.flatMap((line) => Object.keys(line));
    expect(fields.filter((name) => !/^[a-z\d]+(_[a-z\d]+)*$/.test(name))).toEqual([]);
    expect(daemon.lines.find(({ msg }) => msg === 'ready')).toMatchObject({ url: daemon.url, routes: 16 });
  });

  it('names what it does: copying, not downloading; training; waiting for another attempt', async () => {
    const phases = async (env: Record<string, string>, last: string) => {
      const daemon = await startDaemon(env);
      const seen: HealthReport[] = [];
      await eventually(async () => {
        const { body } = await daemon.get<HealthReport>('/health');
        seen.push(body);
        expect(body.phase).toBe(last);
      });
      return { daemon, seen };
    };
    // So many that training takes longer than what passes between two looks.
    const routes = Array.from({ length: 80 }, (_, route) => ({
      name: `subject ${route}`,
      utterances: Array.from({ length: 6 }, (_, i) => `question ${i} about subject ${route}`),
    }));
    const file = join(await temporaryFolder(), 'routes.json');
    await writeFile(file, JSON.stringify({ routes }));
    const { daemon, seen } = await phases({ ROUTES_FILE: file }, 'ready');
    expect(seen.map(({ phase }) => phase)).not.toContain('downloading');
    expect(seen.find(({ phase }) => phase === 'training')).toMatchObject({
      progress: null,
      checks: { routes: { detail: expect.stringContaining('trained') } },
    });
    const { body } = await daemon.get<CacheStatus>('/cache/status');
    expect(new Set(body.events.map(({ kind }) => kind))).toEqual(new Set(['copied']));
    const mirror = { MODEL_SOURCES: 'mirror', MODEL_MIRRORS: 'http://127.0.0.1:9' };
    const { seen: offline } = await phases(mirror, 'waiting');
    expect(offline.at(-1)).toMatchObject({ status: 'starting', progress: null });
  });

  it('keeps the young generation small, which a boot alone takes to 32 MB, and no process but the workers', async () => {
    const daemon = await startDaemon({ INFERENCE_WORKERS: '1' });
    await daemon.ready();
    const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
    const bytes = /^nodejs_heap_space_size_total_bytes\{space="new"\} (\d+)$/m.exec(metrics)?.[1];
    // Two halves of 8 MB at most.
    expect(Number(bytes)).toBeGreaterThan(0);
    expect(Number(bytes)).toBeLessThanOrEqual(16 * 2 ** 20);
    expect(daemon.lines.find(({ msg }) => msg === 'scorer ready')).toMatchObject({ trained: true });
    await eventually(() => expect(childrenOf(daemon.child.pid ?? 0)).toHaveLength(1));
  });

  it('downloads from the hub at the pinned revision, and shows how far it is', async () => {
    const volume = await temporaryFolder();
    const files: Record<string, Buffer> = {};
    for (const path of PATHS) files[path] = await readFile(join('model', path));
    const { revision } = JSON.parse(await readFile('model/manifest.json', 'utf8'));
    const hub = await startHub({ files, revision, bytesPerSecond: 20_000_000 });
    const daemon = await startDaemon({
      MODEL_CACHE_DIR: volume,
      MODEL_SOURCES: 'hub',
      HF_ENDPOINT: hub.endpoint.url,
    });
    const seen = new Set<string>();
    let progressed = false;
    for (;;) {
      const { status, body } = await daemon.get<HealthReport>('/health');
      seen.add(body.phase);
      progressed ||= body.phase === 'downloading' && (body.progress?.done ?? 0) > 0;
      if (status === 200) break;
      expect(status).toBe(503);
    }
    expect(seen).toContain('downloading');
    expect(progressed).toBe(true);
    const { body } = await daemon.get<CacheStatus>('/cache/status');
    expect(new Set(body.files.map(({ source }) => source))).toEqual(new Set(['hub']));
    await daemon.stop();

    // A valid cache makes no request at all.
    const requests = hub.requestCount;
    expect(requests).toBeGreaterThanOrEqual(PATHS.length);
    const again = await servingDaemon({
      MODEL_CACHE_DIR: volume,
      MODEL_SOURCES: 'hub',
      HF_ENDPOINT: hub.endpoint.url,
    });
    expect((await again.post<Decision>('/classify', { text: 'hello' })).status).toBe(200);
    expect(hub.requestCount).toBe(requests);
    await hub.close();
  });
});
