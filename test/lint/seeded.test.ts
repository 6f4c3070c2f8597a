import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Finding } from '../../src/api/lint.js';
import { WorkerPool } from '../../src/inference/pool.js';
import { lintRoutes } from '../../src/lint/lint.js';
import { parseRouteSet } from '../../src/routes/parse.js';
import { embedRoutes } from '../../src/scoring/vectors.js';
import { bundledModel, workerEntry } from '../support/model.js';

const HOTEL = 'test/lint/seeded/hotel.yaml';

/** A line of faults.tsv. */
interface Fault {
  readonly kind: string;
  readonly severity: string;
  readonly routes: readonly string[];
  readonly utterance: string;
}

const linesOf = (file: string): string[][] =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split('\t'));

const faults = linesOf('test/lint/seeded/faults.tsv').map(
  ([kind = '', severity = '', routes = '', utterance = '']): Fault => ({
    ...{ kind, severity, utterance },
    routes: routes.split(', '),
  }),
);

let pool: WorkerPool;
let seeded: readonly Finding[];

beforeAll(async () => {
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  pool = new WorkerPool({ log: silent, workerEntry, workers: 2 });
  await pool.load(bundledModel);
  seeded = await findingsIn(HOTEL);
});

afterAll(() => pool.close());

async function findingsIn(file: string): Promise<readonly Finding[]> {
  const set = parseRouteSet(readFileSync(file, 'utf8'), { origin: basename(file) });
  const { vectors } = await embedRoutes(set, pool);
  return (await lintRoutes(set, vectors)).findings;
}

it.each(['routes/default.yaml', 'routes/support-desk.yaml', 'routes/smart-home.json', 'examples/shop.yaml'])(
  'there is nothing to warn of in %s',
  async (file) => {
    const found = await findingsIn(file);
    expect(found.filter(({ severity }) => severity !== 'info').map(({ message }) => message)).toEqual([]);
  },
);

it.each(faults)('finds $kind in $routes: $utterance', ({ kind, severity, routes, utterance }) => {
  const found = seeded.filter(
    (finding) =>
      finding.kind === kind &&
      finding.severity === severity &&
      [...finding.routes].sort().join() === [...routes].sort().join() &&
      (utterance === '' || finding.utterances.some((each) => each.utterance === utterance)),
  );
  expect(found.map(({ message }) => message)).toHaveLength(1);
});

it('quotes the nearest text of the route that it names', () => {
  const strays = seeded.filter(({ kind }) => kind === 'nearer_elsewhere');
  expect(strays.length).toBeGreaterThan(3);
  for (const { routes, utterances } of strays) expect(utterances.map(({ route }) => route)).toEqual(routes);
});

it('warns of nothing that was not judged (npm run bench:lint -- --list)', () => {
  const judged = new Set(linesOf('test/lint/judged.tsv').map(([, , warning]) => warning));
  const unjudged = seeded
    .filter(({ severity }) => severity !== 'info')
    .map(({ severity, message }) => `${severity}: ${message}`)
    .filter((warning) => !judged.has(warning));
  expect(unjudged).toEqual([]);
});
