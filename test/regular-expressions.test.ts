import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { transform } from 'esbuild';
import { isSafe } from 'redos-detector';
import { describe, expect, it } from 'vitest';
import { parseAst } from 'vitest/node';

/**
 * Expressions of which the count below says that their work may grow faster than what they are applied to, and why
 * that is harmless. It counts the ways to begin or to go back, and takes every text for endless.
 */
const BOUNDED: ReadonlyMap<string, string> = new Map([
  [/(?:W\/)?"([^"]*)"/.source, 'only the last of its quotes may lack a second one'],
  [/(?<!\/)\/+$/.source, 'begins only where a run of slashes does, which the count does not see'],
  [
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what names may not hold
    /^[^\S\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$/.source,
    'its first two parts have no character in common, which the count does not see',
  ],
  [/"[^"]*"/.source, 'describes a header in the contract; nothing is matched here'],
  [/"sha256":\s*"([0-9a-f]{64})"/.source, 'what the operator gives to a command'],
  [/utterances\[(\d+)\]$/.source, 'the page reads an answer of its daemon'],
  [/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/.source, 'the page reads an answer of its daemon'],
  [/(\w+);dur=([\d.]+)/.source, 'the page reads an answer of its daemon'],
  [/^.*? from \S+: /.source, 'a message of a download, as the program wrote it'],
  [/^.* from https?:\S+: /.source, 'the page reads an answer of its daemon'],
  [/\b([0-9a-f]{12})[0-9a-f]{52}\b/.source, 'the page reads an answer of its daemon'],
  [/\b([0-9a-f]{12})[0-9a-f]{20,}/.source, 'begins only where a word does, which the count does not see'],
  [/^([\w.-]+)\.([0-9a-z-]+)\.(part|tmp)$/.source, 'names of files: 255 bytes'],
  [/onnxruntime\..*(so|dylib|dll)/.source, 'names of files: 255 bytes'],
  [
    /<(\/?)([a-z][\w-]*)(?![\w-])[^<>]*>/.source,
    'begins at < and ends before the next one, its name where its letters do, which the count does not see',
  ],
  [
    /^\s*(```+|~~~+)\s*(?:[^\s`]*[/\\][^\s`]*|[\w-]+\.[a-z]\w{0,9}|\d+:\d+:\S+)\s*$/.source,
    'a line of 1,000 characters',
  ],
  [/:\d*$/.source, 'begins at a colon and ends before the next one, which the count does not see'],
  [/\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|[^.[\]]+/.source, 'the path of one field, as the program wrote it'],
  [/(?:^|[;,\s])(?:t|reset)\s*=\s*(\d{1,9})\b/.source, 'a header of a mirror: 16 kB in all'],
  [/^(\[.*\]|[^:]*|.*:.*:.*?)(?::(\d+))?$/.source, 'what the operator sets'],
]);

interface Node {
  readonly type?: string;
  readonly regex?: { readonly pattern: string; readonly flags: string };
}

/** Every literal expression below a node of a syntax tree. */
function* literals(node: unknown): Generator<{ pattern: string; flags: string }> {
  if (typeof node !== 'object' || node === null) return;
  const { type, regex } = node as Node;
  if (type === 'Literal' && regex) yield regex;
  for (const child of Object.values(node)) yield* literals(child);
}

async function expressionsOfTheProgram(): Promise<{ file: string; pattern: string; flags: string }[]> {
  const found: { file: string; pattern: string; flags: string }[] = [];
  for (const file of readdirSync('src', { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue;
    const { code } = await transform(readFileSync(join('src', file), 'utf8'), {
      loader: 'ts',
      target: 'es2024',
    });
    // Made of text, an expression would escape the look at literals.
    expect(code, file).not.toMatch(/\bRegExp\(/);
    for (const { pattern, flags } of literals(parseAst(code))) found.push({ file, pattern, flags });
  }
  return found;
}

/** Whether the work of an expression cannot grow faster than the text. */
function isLinear(pattern: string, flags: string): boolean {
  // A sticky expression begins at one place only, which the count does not know.
  const source = flags.includes('y') ? `^(?:${pattern})` : pattern;
  return isSafe(new RegExp(source, flags.replace('y', '')), { maxScore: 10 }).safe;
}

describe('regular expressions', () => {
  it('do work in proportion to their text, or see short texts only', { timeout: 60_000 }, async () => {
    const expressions = await expressionsOfTheProgram();
    expect(expressions.length).toBeGreaterThan(100);
    const runAway = expressions.filter(
      ({ pattern, flags }) => !BOUNDED.has(pattern) && !isLinear(pattern, flags),
    );
    expect(runAway).toEqual([]);
    const there = new Set(expressions.map(({ pattern }) => pattern));
    expect([...BOUNDED.keys()].filter((pattern) => !there.has(pattern))).toEqual([]);
  });

  it.each([
    ['(a+)+$', ''],
    ['\\/+$', ''],
    ['a*a*b', 'y'],
  ])('that run away are found: /%s/%s', (pattern, flags) => {
    expect(isLinear(pattern, flags)).toBe(false);
  });
});
