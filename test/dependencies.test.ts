import { spawnSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from './support/volume.js';

/** Everything that a daemon or one of its processes and threads imports. */
const MODULES = [
  'service.js',
  'daemon.js',
  'metrics.js',
  'model/session.js',
  'model/tokenizer.js',
  'classify/head/fit-head.js',
  'classify/draft-worker.js',
];

/** What comes with the tokenizer's package and is used by nothing here; docs/security.md builds on it. */
const UNUSED = ['sharp', '@img', 'onnx-proto', 'protobufjs', '@protobufjs'];

/** The files in node_modules that a process loads which imports `modules`. */
async function loadedBy(modules: readonly string[]): Promise<string[]> {
  const folder = await temporaryFolder();
  const script = modules.map((module) => `await import('./dist/${module}').catch(() => undefined);`).join('');
  // Only coverage lists both kinds of modules. A worker's module fails without its parent, after its imports.
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', `${script} process.exit(0)`],
    { env: { PATH: process.env.PATH, NODE_V8_COVERAGE: folder }, encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(stderr);
  const reports = await Promise.all(
    (await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')),
  );
  return reports
    .flatMap((text) => (JSON.parse(text) as { result: { url: string }[] }).result)
    .flatMap(({ url }) => url.split('/node_modules/')[1] ?? []);
}

describe('packages with advisories that are installed and not used', () => {
  it('are loaded by no process of the daemon', { timeout: 60_000 }, async () => {
    const loaded = await loadedBy(MODULES);
    expect(loaded.some((path) => path.startsWith('koa/'))).toBe(true);
    expect(loaded.some((path) => path.startsWith('onnxruntime-node/'))).toBe(true);
    expect(loaded.some((path) => path.startsWith('@xenova/transformers/src/tokenizers.js'))).toBe(true);
    expect(loaded.filter((path) => UNUSED.some((name) => path.startsWith(`${name}/`)))).toEqual([]);
  });

  it('are not in the image', async () => {
    const dockerfile = await readFile('Dockerfile', 'utf8');
    const removed = /&& rm -rf ([^)]+)\)/.exec(dockerfile)?.[1]?.split(' ');
    expect(removed).toEqual(UNUSED);
  });
});
