import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { FILE_STATES } from '../src/api/cache.js';
import { healthSchema, PHASES } from '../src/api/health.js';
import { WORKER_STATES } from '../src/inference/worker.js';
import { ERROR_CODES } from '../src/shared/errors.js';

const operations = await readFile('docs/operations.md', 'utf8');

/** Text under a heading, up to the next of the same or a higher level. */
function section(heading: string): string {
  const level = /^#+/.exec(heading)?.[0].length ?? 0;
  const [, rest = ''] = `\n${operations}`.split(`\n${heading}\n`);
  return rest.split(new RegExp(`\n#{1,${level}} `))[0] ?? '';
}

/** First cells of the tables in a text whose other cells say something. */
function rows(text: string): string[] {
  return [...text.matchAll(/^\| `(\w+)` \| .{8,} \| .{7,} \|$/gm)].map(([, name = '']) => name);
}

const { status, checks } = healthSchema.shape;

describe('docs/operations.md explains', () => {
  it.each<[string, string, readonly string[]]>([
    ['each status', '## Status', status.options],
    ['each phase', '## Phase', PHASES],
    ['each check', '## Checks', Object.keys(checks.shape)],
    ['each state of a file', '## Files', FILE_STATES],
    ['each state of a worker', '## Workers', WORKER_STATES],
    ['each code', '## Codes', ERROR_CODES],
  ])('%s', (_, heading, names) => {
    expect(rows(section(heading)).sort()).toEqual([...names].sort());
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
