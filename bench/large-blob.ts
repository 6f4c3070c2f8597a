/**
 * Proves that a file's size costs neither memory nor a second download: a blob of 2 GiB from a local server is
 * pulled by the compiled program, which is killed with SIGKILL three times on its way.
 * `npm run bench:large [-- GIBIBYTES]`
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Content, generated, pin, sizeOf } from '../test/support/content.js';
import { Origin } from '../test/support/origin.js';

const size = Math.round(Number(process.argv[2] ?? 2) * 2 ** 30);
const KILLS_AT = [0.25, 0.5, 0.75];

const contents: Readonly<Record<string, Content>> = {
  'onnx/model.onnx': generated(size),
  'tokenizer.json': Buffer.from('{}'),
  'tokenizer_config.json': Buffer.from('{} '),
};
const manifest = {
  schema: 1,
  repo: 'bench/large',
  revision: 'a'.repeat(40),
  variant: 'fp32',
  license: 'Apache-2.0',
  files: Object.entries(contents).map(([path, content]) => pin(path, content)),
  embedding: {
    model: 'onnx/model.onnx',
    tokenizer: 'tokenizer.json',
    tokenizer_config: 'tokenizer_config.json',
    dimension: 1,
    max_tokens: 16,
    pooling: 'mean',
    normalize: true,
    batch_sensitive: false,
  },
  canary: { min_cosine: 0.9, cases: [{ text: 'a', embedding: Buffer.alloc(4).toString('base64') }] },
};

const folder = await mkdtemp(join(tmpdir(), 'ai-router-large-'));
const origin = await Origin.start();
try {
  for (const [path, content] of Object.entries(contents)) origin.put(`/${path}`, content);
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
  await mkdir(join(folder, 'volume'));

  let peakKb = 0;
  for (const share of KILLS_AT) {
    const child = pull();
    while (origin.bytesSent < size * share) {
      peakKb = Math.max(peakKb, peakOf(child));
      await sleep(5);
    }
    peakKb = Math.max(peakKb, peakOf(child));
    child.kill('SIGKILL');
    await once(child, 'exit');
    say(`killed with SIGKILL after ${mb(origin.bytesSent)} MB were sent`);
  }
  const began = performance.now();
  const last = pull();
  const ended = once(last, 'exit');
  while (last.exitCode === null && last.signalCode === null) {
    peakKb = Math.max(peakKb, peakOf(last));
    await Promise.race([ended, sleep(5)]);
  }
  const [code] = (await ended) as [number | null];
  const verifyBegan = performance.now();
  const [verified] = await once(program('verify'), 'exit');
  say(
    `last pull ended with ${code} after ${((verifyBegan - began) / 1_000).toFixed(1)} s; verify with ${verified}`,
  );

  const total = Object.values(contents).reduce((sum, content) => sum + sizeOf(content), 0);
  const ranges = origin
    .requestsTo('/onnx/model.onnx')
    .map(({ headers }) => headers.range ?? 'from the start');
  say(`requests for the blob: ${ranges.join(', ')}`);
  say(`the model has ${mb(total)} MB, the server sent ${mb(origin.bytesSent)} MB`);
  say(`sent but lost with a killed process's buffers: ${mb(origin.bytesSent - total)} MB`);
  say(`peak resident memory of a pull: ${(peakKb / 1_000).toFixed(0)} MB`);
  const sound = code === 0 && verified === 0 && peakKb < 250_000 && origin.bytesSent < total * 1.05;
  process.exitCode = sound ? 0 : 1;
} finally {
  await origin.close();
  await rm(folder, { recursive: true, force: true });
}

function program(command: string): ChildProcess {
  return spawn(process.execPath, ['dist/main.js', command], {
    env: {
      PATH: process.env.PATH,
      MODEL_CACHE_DIR: join(folder, 'volume'),
      MODEL_MANIFEST: join(folder, 'manifest.json'),
      MODEL_SOURCES: 'mirror',
      MODEL_MIRRORS: origin.url,
    },
    stdio: ['ignore', 'ignore', 'ignore'],
  });
}

function pull(): ChildProcess {
  return program('pull');
}

/** The most memory that the process has had so far, in kB. */
function peakOf({ pid }: ChildProcess): number {
  try {
    return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
