import { parseArgs } from 'node:util';
import { runCampaign } from './campaign.js';
import type { Row } from './row.js';
import type { Verdict } from './trial.js';

/** A campaign as a command of the shell. */
export interface CampaignCommand {
  readonly rows: readonly Row[];
  readonly help: string;
  /** The verdicts as people read them. */
  tableOf(verdicts: readonly Verdict[]): readonly string[];
  /** One verdict in `--json`. */
  reportOf(verdict: Verdict): object;
}

/**
 * Reads the arguments, runs the campaign, prints what came of it and ends the process: 0 when every row passed, 1
 * when one fell short, 2 for wrong usage.
 */
export async function runCampaignCommand({
  rows: all,
  help,
  tableOf,
  reportOf,
}: CampaignCommand): Promise<never> {
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
    process.stdout.write(help);
    process.exit(0);
  }
  const seed = values.seed === undefined ? Math.floor(Math.random() * 1_000_000) : Number(values.seed);
  const jobs = Number(values.jobs);
  const wanted = values.rows?.split(',').map(Number);
  const known = wanted?.every((row) => all.some(({ number }) => number === row)) ?? true;
  if (!Number.isSafeInteger(seed) || !(jobs >= 1) || !known) {
    process.stderr.write(help);
    process.exit(2);
  }

  const say = (text: string): void => void process.stderr.write(`${text}\n`);
  say(`seed ${seed}; ${values.short ? 'short' : 'long'} form`);
  const verdicts = await runCampaign({
    seed,
    short: values.short,
    concurrency: jobs,
    rows: all.filter(({ number }) => wanted?.includes(number) ?? true),
    onShortfall: (row, shortfall) => say(`row ${row} SHORT: ${shortfall}`),
    onProgress: (row, tried, survived) => say(`row ${row}: ${survived} of ${tried} so far`),
    onVerdict: ({ row, fault, tried, survived, shortfalls, ms }) => {
      const verdict = shortfalls.length > 0 ? 'SHORT' : tried === 0 ? 'SKIPPED' : 'ok';
      say(`row ${row} ${verdict} ${survived}/${tried} in ${Math.round(ms)} ms: ${fault}`);
    },
  });
  const ok = verdicts.every(({ shortfalls }) => shortfalls.length === 0);
  if (values.json) {
    const report = { seed, short: values.short, ok, rows: verdicts.map(reportOf) };
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  } else {
    process.stdout.write(`${tableOf(verdicts).join('\n')}\n`);
  }
  process.exit(ok ? 0 : 1);
}
