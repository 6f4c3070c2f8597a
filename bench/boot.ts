/**
 * What a person notices of the daemon alone: first boot (bundled source), warm boot, memory, and the latency of
 * one classification at a time. `npm run bench:boot [-- ROUNDS]` after `npm run build`.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const rounds = Number(process.argv[2] ?? 5);
const UNIQUE_TEXTS = 300;

interface Running {
  readonly url: string;
  readonly pid: number;
  readonly readyMs: number;
  stop(): Promise<void>;
}

/** Starts the daemon and polls `/health` until it says 200. */
async function boot(volume: string): Promise<Running> {
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  const url = `http://127.0.0.1:${port}`;
  const started = performance.now();
  const child = spawn(process.execPath, ['dist/main.js', 'serve'], {
    env: {
      PATH: process.env.PATH,
      PORT: String(port),
      HOST: '127.0.0.1',
      MODEL_CACHE_DIR: volume,
      HF_HUB_OFFLINE: '1',
      LOG_LEVEL: 'warn',
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  for (;;) {
    const ok = await fetch(`${url}/health`).then(
      (response) => response.ok,
      () => false,
    );
    if (ok) break;
    if (child.exitCode !== null) throw new Error('the daemon ended');
    await sleep(5);
  }
  return {
    url,
    pid: child.pid ?? 0,
    readyMs: performance.now() - started,
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** Proportional set size in MB of a process and its children: shared pages are counted once among them. */
function memoryOf(pid: number): number {
  const family = [pid];
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid) family.push(Number(name));
    } catch {
      // It has ended meanwhile.
    }
  }
  return family.reduce((sum, member) => {
    const rollup = readFileSync(`/proc/${member}/smaps_rollup`, 'utf8');
    return sum + Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0) / 1_000;
  }, 0);
}

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

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

function row(name: string, values: readonly number[], unit: string): string {
  const shown = [0.5, 0, 1].map((q) =>
    quantile(values, q)
      .toFixed(unit === 'MB' ? 0 : 1)
      .padStart(9),
  );
  return `${name.padEnd(44)}${shown.join('')} ${unit}`;
}

const first: number[] = [];
const warm: number[] = [];
const idleMemory: number[] = [];
const usedMemory: number[] = [];
const latency: number[] = [];
const slowest: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  const volume = await mkdtemp(join(tmpdir(), 'ai-router-bench-'));
  const cold = await boot(volume);
  first.push(cold.readyMs);
  await cold.stop();
  const daemon = await boot(volume);
  warm.push(daemon.readyMs);
  idleMemory.push(memoryOf(daemon.pid));
  for (let n = 0; n < 20; n += 1) await classify(daemon.url, `warm-up number ${n}`);
  const times: number[] = [];
  for (let n = 0; n < UNIQUE_TEXTS; n += 1) {
    times.push(await classify(daemon.url, `please tell me about case ${round}-${n} today`));
  }
  latency.push(quantile(times, 0.5));
  slowest.push(quantile(times, 0.99));
  await Promise.all(
    Array.from({ length: 1_000 }, (_, n) => classify(daemon.url, `many at once, number ${n}`)),
  );
  usedMemory.push(memoryOf(daemon.pid));
  await daemon.stop();
  await rm(volume, { recursive: true });
}
process.stdout.write(
  [
    `${cpus()[0]?.model}, ${availableParallelism()} cores, Node ${process.version}, ${rounds} rounds`,
    `${''.padEnd(44)}${['median', 'min', 'max'].map((name) => name.padStart(9)).join('')}`,
    row('process start to ready, empty volume', first, 'ms'),
    row('process start to ready, warm volume', warm, 'ms'),
    row('one classification alone over HTTP, p50', latency, 'ms'),
    row('one classification alone over HTTP, p99', slowest, 'ms'),
    row('memory of all processes (PSS), idle', idleMemory, 'MB'),
    row('memory of all processes (PSS), after 1,300', usedMemory, 'MB'),
    '',
  ].join('\n'),
);
