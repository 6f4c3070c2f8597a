import type { Verdict } from '../campaign/trial.js';
import { table } from '../src/commands/format.js';

/** The verdicts as people read them: a table, below it the figures, what fell short and what was skipped. */
export function tableOf(verdicts: readonly Verdict[]): string[] {
  const lines = table([
    ['row', 'abuse', 'tried', 'survived', 'time'],
    ...verdicts.map(({ row, fault, tried, survived, skipped, ms }) => [
      String(row),
      fault,
      tried === 0 && skipped.length > 0 ? 'SKIPPED' : String(tried),
      String(survived),
      `${(ms / 1_000).toFixed(1)} s`,
    ]),
  ]);
  for (const { row, notes } of verdicts) for (const note of notes) lines.push(`  row ${row}: ${note}`);
  for (const { row, skipped } of verdicts)
    for (const what of skipped) lines.push(`SKIPPED  row ${row}: ${what}`);
  for (const { row, shortfalls } of verdicts) {
    for (const what of new Set(shortfalls)) {
      const times = shortfalls.filter((one) => one === what).length;
      lines.push(`SHORT  row ${row}: ${times > 1 ? `${times} times: ` : ''}${what}`);
    }
  }
  const sum = (of: (verdict: Verdict) => number): number => verdicts.reduce((all, one) => all + of(one), 0);
  const short = verdicts.filter(({ shortfalls }) => shortfalls.length > 0).length;
  lines.push(
    `${sum(({ tried }) => tried)} tried, ${sum(({ survived }) => survived)} survived; ` +
      `${short} of ${verdicts.length} rows fell short`,
  );
  return lines;
}
