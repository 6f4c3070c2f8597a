import { chmod, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { startDaemon } from '../support/daemon.js';
import { temporaryFolder } from '../support/volume.js';

const MODEL = 'afdb6f1a0e45b715d0bb9b11772f032c399babd23bfc31fed1c170afc848bdb1';

it('GET /metrics tells requests, decisions, the cache and the workers', async () => {
  const volume = await temporaryFolder();
  const daemon = await startDaemon({ MODEL_CACHE_DIR: volume, HF_HUB_OFFLINE: '1' });
  await daemon.ready();
  const scrape = async () => {
    const response = await fetch(`${daemon.url}/metrics`);
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    return response.text();
  };
  await daemon.post('/classify', { text: 'what is the weather in Paris tomorrow?' });
  await daemon.post('/classify', { text: 'refund '.repeat(300), threshold: 1 });
  await daemon.post('/classify', { text: '' });
  await daemon.post('/nowhere/at-all', {});
  const before = await scrape();
  expect(before).toContain('ai_router_decisions_total{route="weather"} 1');
  expect(before).toContain('ai_router_decisions_total{route=""} 1');
  expect(before).toContain('ai_router_truncated_texts_total 1');
  expect(before).toMatch(
    /http_request_duration_seconds_count\{method="POST",route="\/classify",status="200"\} 2/,
  );
  expect(before).toMatch(
    /http_request_duration_seconds_count\{method="POST",route="\/classify",status="422"\} 1/,
  );
  // A path that nobody serves must not become a time series of its own.
  expect(before).not.toContain('at-all');
  expect(before).toContain('ai_router_cache_file_state{path="onnx/model_quantized.onnx",state="verified"} 1');
  expect(before).toContain('ai_router_cache_whole 1');
  expect(before).toMatch(/ai_router_inference_workers\{state="ready"\} \d/);
  expect(before).toMatch(/nodejs_eventloop_lag_p99_seconds/);

  const blob = join(volume, 'blobs/sha256', MODEL);
  await chmod(blob, 0o644);
  await truncate(blob, 1_000);
  await vi.waitFor(async () => expect(await scrape()).toContain('ai_router_cache_repairs_total 1'), {
    timeout: 10_000,
    interval: 50,
  });
  expect(await scrape()).toContain('ai_router_cache_corruptions_total 1');
});
