import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const operations = await readFile('docs/operations.md', 'utf8');

/** The string literals of a union type, or the keys of a literal, that stand between two texts of a source file. */
async function namesIn(path: string, from: string, to: string, name: RegExp): Promise<string[]> {
  const [, rest = ''] = (await readFile(path, 'utf8')).split(from);
  return [...(rest.split(to)[0] ?? '').matchAll(name)].map(([, found = '']) => found);
}

/** What stands under a heading, up to the next of the same or a higher level. */
function section(heading: string): string {
  const level = /^#+/.exec(heading)?.[0].length ?? 0;
  const [, rest = ''] = `\n${operations}`.split(`\n${heading}\n`);
  return rest.split(new RegExp(`\n#{1,${level}} `))[0] ?? '';
}

/** First cells of the tables in a text whose other cells say something. */
function rows(text: string): string[] {
  return [...text.matchAll(/^\| `(\w+)` \| .{8,} \| .{7,} \|$/gm)].map(([, name = '']) => name);
}

const QUOTED = /'(\w+)'/g;

describe('docs/operations.md explains', () => {
  it.each<[string, string, [path: string, from: string, to: string, name?: RegExp]]>([
    ['each status', '## Status', ['src/api/health.ts', 'status: z.enum(', ')']],
    ['each phase', '## Phase', ['src/api/health.ts', 'export const PHASES = ', '] as']],
    ['each check', '## Checks', ['src/daemon/health.ts', 'const checks = {', '};', /^ +(\w+): /gm]],
    ['each state of a file', '## Files', ['src/api/cache.ts', 'export const FILE_STATES = ', '] as']],
    ['each state of a worker', '## Workers', ['src/inference/worker.ts', 'export type WorkerState = ', ';']],
    ['each code', '## Codes', ['src/shared/errors.ts', 'export const ERROR_CODES = ', '] as']],
  ])('%s', async (_, heading, [path, from, to, name = QUOTED]) => {
    const names = await namesIn(path, from, to, name);
    expect(names.length).toBeGreaterThan(3);
    expect(rows(section(heading)).sort()).toEqual(names.sort());
  });

  it('each alert, in a paragraph of its own', async () => {
    const { groups }: { groups: { rules: { alert: string }[] }[] } = parse(
      await readFile('deploy/prometheus/alerts.yaml', 'utf8'),
    );
    const alerts = groups.flatMap(({ rules }) => rules.map(({ alert }) => alert));
    expect([...operations.matchAll(/^### (AiRouter\w+)$/gm)].map(([, alert]) => alert)).toEqual(alerts);
    for (const alert of alerts) expect(section(`### ${alert}`).trim().length, alert).toBeGreaterThan(120);
  });
});

it('the pages refer to each other correctly', async () => {
  const pages = ['README.md', 'examples/README.md'];
  for (const file of await readdir('docs')) if (file.endsWith('.md')) pages.push(join('docs', file));
  for (const page of pages) {
    const text = await readFile(page, 'utf8');
    for (const [, target = ''] of text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)) {
      const path = join(dirname(page), target);
      const there = await Promise.all(
        [readFile(path), readdir(path)].map((look) =>
          look.then(
            () => true,
            () => false,
          ),
        ),
      );
      expect(there.includes(true), `${page}: ${target}`).toBe(true);
    }
  }
});
