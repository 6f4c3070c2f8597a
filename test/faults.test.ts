import { describe, expect, it } from 'vitest';
import { runCampaign } from '../campaign/campaign.js';
import { ROWS } from '../faults/rows/index.js';

/**
 * The fault campaign in its short form: the same rows with small counts. `npm run faults` runs the long one.
 * A row whose injector this machine lacks says so here, too.
 */
describe('the fault campaign, short form', () => {
  /** What waits for timeouts of the wire or the clock, or needs namespaces and ptrace, is left to the long form. */
  const ROWS_HERE = [7, 9, 11, 13, 15, 16, 17, 20, 21, 22, 25, 26, 28, 29, 30, 33, 34, 40];

  it('survives every injection', { timeout: 300_000 }, async ({ annotate }) => {
    const rows = ROWS.filter(({ number }) => ROWS_HERE.includes(number));
    const verdicts = await runCampaign({ seed: 1, short: true, rows, concurrency: 3 });
    for (const { row, skipped } of verdicts)
      for (const what of skipped) await annotate(`row ${row}: skipped: ${what}`);
    expect(
      verdicts.flatMap(({ row, shortfalls }) => shortfalls.map((what) => `row ${row}: ${what}`)),
    ).toEqual([]);
    expect(verdicts.map(({ row }) => row)).toEqual(ROWS_HERE);
  });

  it('has every row of the catalogue that belongs to it', () => {
    const numbers = ROWS.map(({ number }) => number);
    const expected = [...Array.from({ length: 36 }, (_, index) => index + 1), 40, 41, 42, 43, 44];
    expect(numbers).toEqual(expected);
  });
});
