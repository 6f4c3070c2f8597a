import type { Verdict } from '../campaign/trial.js';
import { formatBytes, table } from '../src/commands/format.js';

/** The verdicts as people read them: a table, and below it what fell short and what was skipped. */
export function tableOf(verdicts: readonly Verdict[]): string[] {
  const head = [
    'row',
    'fault',
    'tried',
    'survived',
    'heal median/max',
    'requests',
    'failed',
    'left behind',
    'time',
  ];
  const lines = table([head, ...verdicts.map(cellsOf)]);
  for (const { row, notes } of verdicts) for (const note of notes) lines.push(`  row ${row}: ${note}`);
  for (const { row, skipped } of verdicts)
    for (const what of skipped) lines.push(`SKIPPED  row ${row}: ${what}`);
  for (const { row, shortfalls } of verdicts)
    for (const what of shortfalls) lines.push(`SHORT  row ${row}: ${what}`);
  const sum = (of: (verdict: Verdict) => number): number => verdicts.reduce((all, one) => all + of(one), 0);
  lines.push(
    `${sum(({ tried }) => tried)} injections, ${sum(({ survived }) => survived)} survived; ` +
      `${sum(({ sent }) => sent)} requests meanwhile, ${sum(({ failed }) => failed)} failed; ` +
      `${verdicts.filter(({ shortfalls }) => shortfalls.length > 0).length} of ${verdicts.length} rows fell short`,
  );
  return lines;
}

function cellsOf({
  row,
  fault,
  tried,
  survived,
  healMs,
  sent,
  failed,
  leftBytes,
  skipped,
  ms,
}: Verdict): string[] {
  return [
    String(row),
    fault,
    tried === 0 && skipped.length > 0 ? 'skipped' : String(tried),
    String(survived),
    healMs.length === 0 ? '-' : `${Math.round(medianOf(healMs))}/${Math.round(Math.max(...healMs))} ms`,
    sent === 0 ? '-' : String(sent),
    sent === 0 ? '-' : String(failed),
    formatBytes(leftBytes),
    `${(ms / 1_000).toFixed(1)} s`,
  ];
}

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}
