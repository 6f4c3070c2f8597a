import { runCampaignCommand } from '../campaign/command.js';
import { ROWS } from './rows/index.js';
import { tableOf } from './table.js';

const HELP = `Usage: npm run abuse -- [--short] [--seed N] [--rows 1,7] [--jobs N] [--json]

Does to the real daemon what a hostile internet does (docs/abuse.md) and prints what came of it.
  --short     small counts and no verdicts on times, as in npm test
  --seed N    the random inputs of an earlier run; default: a new one, which is printed
  --rows LIST only these rows
  --jobs N    rows at a time; default: 1. Figures of time hold for one at a time
  --json      the verdicts as JSON on stdout

Exit status: 0 when every row passed, 1 when one fell short, 2 for wrong usage. A row for which the machine or the
daemon lacks something says SKIPPED and does not count as fallen short.
`;

await runCampaignCommand({
  rows: ROWS,
  help: HELP,
  tableOf,
  reportOf: ({ row, fault, tried, survived, notes, skipped, shortfalls, ms }) => ({
    row,
    abuse: fault,
    tried,
    survived,
    figures: notes,
    skipped,
    shortfalls,
    ms: Math.round(ms),
  }),
});
