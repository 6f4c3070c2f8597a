import { parseArgs } from 'node:util';
import { runCampaign } from './campaign.js';
import { medianOf, tableOf } from './table.js';

const HELP = `Usage: npm run faults -- [--short] [--seed N] [--rows 13,29] [--jobs N] [--json]

Drives the real daemon through the catalogue of faults (docs/faults.md) and prints what came of it.
  --short     small counts, as in npm test
  --seed N    the random choices of an earlier run; default: a new one, which is printed
  --rows LIST only these rows
  --jobs N    rows at a time; default: 1
  --json      the verdicts as JSON on stdout

Exit status: 0 when every row passed, 1 when one fell short, 2 for wrong usage. A row for which this machine lacks
the injector says so and does not count as fallen short.
`;

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    seed: { type: 'string' },
    rows: { type: 'string' },
    json: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '1' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const seed = values.seed === undefined ? Math.floor(Math.random() * 1_000_000) : Number(values.seed);
const jobs = Number(values.jobs);
const rows = values.rows?.split(',').map(Number);
if (!Number.isSafeInteger(seed) || !(jobs >= 1) || rows?.some((row) => !Number.isSafeInteger(row))) {
  process.stderr.write(HELP);
  process.exit(2);
}

process.stderr.write(`seed ${seed}; ${values.short ? 'short' : 'long'} form\n`);
const verdicts = await runCampaign({
  seed,
  short: values.short,
  concurrency: jobs,
  ...(rows && { rows }),
  onShortfall: (row, shortfall) => void process.stderr.write(`row ${row} SHORT: ${shortfall}\n`),
  onProgress: (row, tried, survived) =>
    void process.stderr.write(`row ${row}: ${survived} of ${tried} so far\n`),
  onVerdict: ({ row, fault, tried, survived, shortfalls, ms }) => {
    const verdict = shortfalls.length > 0 ? 'SHORT' : 'ok';
    process.stderr.write(`row ${row} ${verdict} ${survived}/${tried} in ${Math.round(ms)} ms: ${fault}\n`);
  },
});
const ok = verdicts.every(({ shortfalls }) => shortfalls.length === 0);
if (values.json) {
  const report = verdicts.map(({ healMs, ...verdict }) => ({
    ...verdict,
    heal_median_ms: medianOf(healMs),
    heal_max_ms: Math.max(0, ...healMs),
  }));
  process.stdout.write(`${JSON.stringify({ seed, short: values.short, ok, rows: report }, null, 2)}\n`);
} else {
  process.stdout.write(`${tableOf(verdicts).join('\n')}\n`);
}
process.exit(ok ? 0 : 1);
