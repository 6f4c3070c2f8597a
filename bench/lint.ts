import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { commandLine } from '../scripts/command-line.js';
import type { Finding } from '../src/api/lint.js';
import { lintRoutes } from '../src/lint/lint.js';
import { parseRouteSet } from '../src/routes/parse.js';
import type { RouteSet } from '../src/routes/set.js';
import { embedRoutes } from '../src/scoring/vectors.js';
import { banking77Folder, readBanking77, sampleUtterances } from './routing/banking77.js';
import { embedAll } from './routing/embeddings.js';

const HELP = `Whether a person would follow what lint warns of: errors and warnings of the shipped sets, of Banking77 and of a set
with seeded faults.

  npm run bench:lint -- --list    all of them without their sets, in an order that tells nothing, to be judged
  npm run bench:lint              how many of them were judged to be followed (test/lint/judged.tsv)`;
const { list } = commandLine(HELP, { options: { list: { type: 'boolean' } } }).values;

const JUDGED = 'test/lint/judged.tsv';
const FILES = {
  shipped: [
    'routes/default.yaml',
    'routes/support-desk.yaml',
    'routes/smart-home.json',
    'examples/shop.yaml',
  ],
  seeded: ['test/lint/seeded/hotel.yaml'],
} as const;
/** Utterances of each of Banking77's 77 routes, and the seed of their choice; lint's constants were chosen with others. */
const SAMPLES = [
  { perRoute: 10, seed: 3 },
  { perRoute: 20, seed: 4 },
] as const;

const read = (file: string): RouteSet =>
  parseRouteSet(readFileSync(file, 'utf8'), { origin: basename(file) });

function banking77(): RouteSet[] {
  const folder = banking77Folder();
  if (folder === undefined) return [];
  const data = readBanking77(folder);
  return SAMPLES.map(({ perRoute, seed }) => {
    const routes = [...sampleUtterances(data, perRoute, seed)].map(([name, utterances]) => ({
      name,
      utterances,
    }));
    return parseRouteSet(JSON.stringify({ routes }), { origin: 'banking77.json' });
  });
}

const sets = {
  shipped: FILES.shipped.map(read),
  seeded: FILES.seeded.map(read),
  banking77: banking77(),
};

/** A finding without its figures and its place among the others. */
function idOf({ kind, routes, utterances }: Finding): string {
  const subject = JSON.stringify([kind, routes, utterances.map(({ utterance }) => utterance)]);
  return createHash('sha256').update(subject).digest('hex').slice(0, 8);
}

const texts = Object.values(sets)
  .flat()
  .flatMap(({ routes }) => routes.flatMap(({ utterances }) => utterances));
const embedder = await embedAll(texts, process.env.AI_ROUTER_BENCH_CACHE);
const found = new Map<string, { readonly origin: string; readonly finding: Finding }>();
for (const [origin, list] of Object.entries(sets)) {
  for (const set of list) {
    const { vectors } = await embedRoutes(set, embedder);
    const { findings } = await lintRoutes(set, vectors);
    for (const finding of findings)
      if (finding.severity !== 'info') found.set(idOf(finding), { origin, finding });
  }
}

if (list) {
  for (const [id, { finding }] of [...found].sort(([a], [b]) => (a < b ? -1 : 1)))
    process.stdout.write(`${id}\t${finding.severity}: ${finding.message}\t${finding.advice}\n`);
} else {
  const verdicts = new Map(
    readFileSync(JUDGED, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.split('\t') as [id: string, verdict: string]),
  );
  const rows = new Map<string, { follow: number; all: number; unjudged: number }>();
  for (const [id, { origin, finding }] of found) {
    const verdict = verdicts.get(id);
    for (const row of [`${origin.padEnd(10)} ${finding.kind}`, `${origin.padEnd(10)} all`, 'all']) {
      const counts = rows.get(row) ?? { follow: 0, all: 0, unjudged: 0 };
      counts.all += 1;
      if (verdict === 'follow') counts.follow += 1;
      if (verdict === undefined) counts.unjudged += 1;
      rows.set(row, counts);
    }
  }
  for (const [row, { follow, all, unjudged }] of [...rows].sort(([a], [b]) => (a < b ? -1 : 1)))
    process.stdout.write(
      `${row.padEnd(36)} ${follow} of ${all} followed (${((100 * follow) / all).toFixed(0)} %)${unjudged ? `, ${unjudged} not judged` : ''}\n`,
    );
}
