import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';

/** Come with the tokenizer's package and are used by nothing here; docs/security.md builds on it. */
const UNUSED = ['sharp', '@img', 'onnx-proto', 'protobufjs', '@protobufjs', 'onnxruntime-web'];

async function json<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(path, 'utf8')) as T;
}

const { bundled, external } = await json<{ bundled: { name: string }[]; external: string[] }>(
  'dist/packages.json',
);
const names = bundled.map(({ name }) => name);

describe('the packages of the program', () => {
  it('are dependencies if the build leaves them outside, else only needed to develop', async () => {
    const declared = await json<Record<string, Record<string, string>>>('package.json');
    expect(external.sort()).toEqual(Object.keys(declared.dependencies ?? {}).sort());
    expect(declared.optionalDependencies).toBeUndefined();
    for (const name of [
      'koa',
      'zod',
      '@xenova/transformers',
      '@opentelemetry/sdk-trace-base',
      'pino-pretty',
    ]) {
      expect(names).toContain(name);
      expect(declared.devDependencies).toHaveProperty([name]);
    }
  });

  it('go along with their licenses', async () => {
    const notices = await readFile('dist/THIRD-PARTY.txt', 'utf8');
    for (const name of [...names, 'swagger-ui-dist']) expect(notices).toContain(`${name} `);
  });

  it('are none of those with advisories that nothing here uses', () => {
    for (const name of UNUSED) {
      expect(names.filter((path) => path === name || path.startsWith(`${name}/`))).toEqual([]);
      expect(external).not.toContain(name);
    }
  });
});
