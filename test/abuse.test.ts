import { describe, expect, it } from 'vitest';
import { ROWS } from '../abuse/rows/index.js';
import { runCampaign } from '../campaign/campaign.js';

/** The abuse campaign in its short form: small counts, and no verdicts on times. `npm run abuse` runs the long one. */
describe('the abuse campaign, short form', () => {
  /** Without overload, which is measured, as nothing here may be. */
  const ROWS_HERE = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14];

  it('survives every input and every client', { timeout: 300_000 }, async ({ annotate }) => {
    const rows = ROWS.filter(({ number }) => ROWS_HERE.includes(number));
    const verdicts = await runCampaign({ seed: 1, short: true, rows, concurrency: 4 });
    for (const { row, skipped } of verdicts)
      for (const what of skipped) await annotate(`row ${row}: skipped: ${what}`);
    expect(
      verdicts.flatMap(({ row, shortfalls }) => shortfalls.map((what) => `row ${row}: ${what}`)),
    ).toEqual([]);
    expect(verdicts.map(({ row }) => row)).toEqual(ROWS_HERE);
  });
});
