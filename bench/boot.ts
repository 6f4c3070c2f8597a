/**
 * What a person notices of the daemon alone: first boot (bundled source), warm boot, memory, and the latency of
 * one classification at a time. `npm run bench:boot [-- ROUNDS]` after `npm run build`.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDaemon } from './load/servers.js';
import { familyOf, memoryOf } from './memory.js';
import { machine, quantile, Samples, table } from './samples.js';

const rounds = Number(process.argv[2] ?? 5);
const UNIQUE_TEXTS = 300;
const CLIENTS = 20;

async function classify(url: string, text: string): Promise<number> {
  const started = performance.now();
  const response = await fetch(`${url}/classify`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ text }),
  });
  await response.json();
  if (!response.ok) throw new Error(`status ${response.status}`);
  return performance.now() - started;
}

const samples = new Samples();
for (let round = 0; round < rounds; round += 1) {
  const volume = await mkdtemp(join(tmpdir(), 'ai-router-bench-'));
  const cold = await startDaemon(volume);
  samples.note('process start to ready, empty volume, ms', cold.readyMs);
  await cold.stop();
  const daemon = await startDaemon(volume);
  const memory = (): number => memoryOf(familyOf(daemon.pid)).pss;
  samples.note('process start to ready, warm volume, ms', daemon.readyMs);
  samples.note('memory of all processes (PSS), idle, MB', memory());
  for (let n = 0; n < 20; n += 1) await classify(daemon.url, `warm-up number ${n}`);
  const times: number[] = [];
  for (let n = 0; n < UNIQUE_TEXTS; n += 1) {
    times.push(await classify(daemon.url, `please tell me about case ${round}-${n} today`));
  }
  samples.note('one classification alone over HTTP, p50 ms', quantile(times, 0.5));
  samples.note('one classification alone over HTTP, p99 ms', quantile(times, 0.99));
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, client) => {
      for (let n = 0; n < 1_000 / CLIENTS; n += 1)
        await classify(daemon.url, `client ${client}, number ${n}`);
    }),
  );
  samples.note('memory of all processes (PSS), after 1,300, MB', memory());
  await daemon.stop();
  await rm(volume, { recursive: true });
}
process.stdout.write(`${machine()}, ${rounds} rounds\n${table(samples.rows())}\n`);
