import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

/** What comes with the tokenizer's package and is used by nothing here; docs/security.md builds on it. */
const UNUSED = ['sharp', '@img', 'onnx-proto', 'protobufjs', '@protobufjs'];

/** The files of packages that the build put into the program, and the packages that it left outside. */
async function partsOfTheProgram(): Promise<{ bundled: string[]; external: Set<string> }> {
  const names = await readdir('dist');
  const read = (ending: string): Promise<string[]> =>
    Promise.all(
      names.filter((name) => name.endsWith(ending)).map((name) => readFile(join('dist', name), 'utf8')),
    );
  const maps = (await read('.js.map')).map((text) => JSON.parse(text) as { sources: string[] });
  const code = (await read('.js')).join('\n');
  return {
    bundled: maps.flatMap(({ sources }) => sources.flatMap((path) => path.split('node_modules/')[1] ?? [])),
    external: new Set(
      [...code.matchAll(/(?:from|import|import\(|require\()\s*"([^".][^"]*)"/g)].map(
        ([, name]) => name ?? '',
      ),
    ),
  };
}

describe('packages with advisories that are installed and not used', () => {
  it('are in no part of the program', async () => {
    const { bundled, external } = await partsOfTheProgram();
    expect(bundled.some((path) => path.startsWith('koa/'))).toBe(true);
    expect(bundled).toContain('@xenova/transformers/src/tokenizers.js');
    expect(external).toContain('onnxruntime-node');
    for (const name of UNUSED) {
      expect(bundled.filter((path) => path.startsWith(`${name}/`))).toEqual([]);
      expect([...external].filter((path) => path === name || path.startsWith(`${name}/`))).toEqual([]);
    }
  });

  it('are not in the image', async () => {
    const dockerfile = await readFile('Dockerfile', 'utf8');
    const removed = /&& rm -rf ([^)]+)\)/.exec(dockerfile)?.[1]?.split(' ');
    expect(removed).toEqual(UNUSED);
  });
});
