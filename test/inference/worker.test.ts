import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { WorkerPool } from '../../src/inference/pool.js';
import { eventually } from '../support/eventually.js';
import { bundledModel, workerEntry } from '../support/model.js';
import { isAlive } from '../support/processes.js';

const folder = mkdtempSync(join(tmpdir(), 'ai-router-workers-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A stand-in for the worker, for what a real one cannot be made to do. */
function fakeWorker(name: string, source: string): URL {
  const path = join(folder, `${name}.mjs`);
  writeFileSync(path, source);
  return pathToFileURL(path);
}

/** A worker that says `started`, and then runs `source` when it gets anything. */
function startedWorker(name: string, source: string): URL {
  return fakeWorker(
    name,
    `import { Socket } from 'node:net';
    const channel = new Socket({ fd: 3, readable: true, writable: true });
    channel.once('data', () => { ${source} });
    const json = Buffer.from('{"kind":"started"}');
    channel.write(Buffer.concat([Buffer.from([json.length, 0, 0, 0, 0, 0, 0, 0]), json]));`,
  );
}

/** A process that makes a pool like the daemon does, prints its workers' ids, and then runs `rest`. */
function daemon(rest: string): { child: ChildProcess; stdout: () => string } {
  const script = `
    import { readFileSync } from 'node:fs';
    import { WorkerPool } from ${JSON.stringify(new URL('../../src/inference/pool.ts', import.meta.url).href)};
    const { bundledModel } = await import(${JSON.stringify(new URL('../support/model.ts', import.meta.url).href)});
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const pool = new WorkerPool({ log, workers: 2, workerEntry: new URL(${JSON.stringify(workerEntry.href)}) });
    await pool.load(bundledModel);
    console.log(JSON.stringify(pool.status().workers.map(({ pid }) => pid)));
    ${rest}
  `;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  return { child, stdout: () => output };
}

describe('the workers of a daemon', () => {
  it('end when it is killed', async () => {
    const { child, stdout } = daemon('setInterval(() => pool.embed("hi"), 1);');
    await eventually(() => expect(stdout().includes('\n'), 'the workers').toBe(true));
    const pids: number[] = JSON.parse(stdout());
    expect(pids.filter(isAlive)).toHaveLength(2);
    child.kill('SIGKILL');
    await eventually(() => expect(!pids.some(isAlive), 'the workers gone').toBe(true));
  });

  it('keep nothing alive after close, never write to its standard output, and leave the runtime out of it', async () => {
    const { child, stdout } = daemon(`
      await pool.embed("hi");
      await pool.close();
      if (readFileSync('/proc/self/maps', 'utf8').includes('onnxruntime')) process.exitCode = 3;
    `);
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect(code).toBe(0);
    const pids: number[] = JSON.parse(stdout());
    expect(pids.filter(isAlive)).toEqual([]);
  });
});

describe('a worker that cannot', () => {
  const silent = { debug() {}, info() {}, error() {} };
  const lines: unknown[] = [];
  const log = { ...silent, warn: (details: object) => lines.push(details) };

  it.each([
    ['start', fakeWorker('start', 'console.log("no such library"); process.exit(7);'), 'worker_failed', true],
    [
      'load the model without a native crash',
      startedWorker('crash', "process.kill(process.pid, 'SIGSEGV');"),
      'model_unloadable',
      false,
    ],
    [
      'load the model because something kills it',
      startedWorker('killed', "process.kill(process.pid, 'SIGKILL');"),
      'worker_failed',
      true,
    ],
  ])('%s: given up after three', async (_, workerEntry, code, retryable) => {
    const pool = new WorkerPool({ log, workers: 1, backoffMinMs: 1, workerEntry });
    await expect(pool.load(bundledModel)).rejects.toMatchObject({ code, retryable });
    expect(pool.status()).toMatchObject({ ready: false, totals: { restarts: 2 } });
    await pool.close();
  });

  it('keeps its last words in the log', () => {
    expect(lines).toContainEqual(expect.objectContaining({ line: 'no such library' }));
  });

  it('finish loading: killed at the timeout', async () => {
    const hangs = startedWorker('hangs', 'for (;;);');
    const pool = new WorkerPool({ log, workers: 1, backoffMinMs: 1, loadTimeoutMs: 200, workerEntry: hangs });
    await expect(pool.load(bundledModel)).rejects.toMatchObject({
      message: expect.stringContaining('did not load the model in time'),
    });
    await pool.close();
  });
});

it('runs without the secrets of the environment', async () => {
  process.env.HF_TOKEN = 'hf_secret';
  const lines: object[] = [];
  const log = { debug() {}, info() {}, error() {}, warn: (details: object) => lines.push(details) };
  const entry = fakeWorker('environment', 'console.log(JSON.stringify(process.env));');
  const pool = new WorkerPool({ log, workers: 1, backoffMinMs: 1, workerEntry: entry });
  await expect(pool.load(bundledModel)).rejects.toMatchObject({ code: 'worker_failed' });
  await pool.close();
  delete process.env.HF_TOKEN;
  expect(JSON.stringify(lines)).toContain('MALLOC_ARENA_MAX');
  expect(JSON.stringify(lines)).not.toContain('hf_secret');
  expect(workerEntry.pathname).toMatch(/inference-worker\.js$/);
});
