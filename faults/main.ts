import { runCampaignCommand } from '../campaign/command.js';
import { ROWS } from './rows/index.js';
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

await runCampaignCommand({
  rows: ROWS,
  help: HELP,
  tableOf,
  reportOf: ({ healMs, ...verdict }) => ({
    ...verdict,
    heal_median_ms: medianOf(healMs),
    heal_max_ms: Math.max(0, ...healMs),
  }),
});
