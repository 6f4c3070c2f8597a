import type { Row } from '../samples.js';
import type { Goal } from './bench.js';

/** A goal and what was measured. */
export interface Verdict extends Goal {
  readonly measured: number | undefined;
  /** `undefined` when it was not measured. */
  readonly met: boolean | undefined;
  readonly line: string;
}

/** Judges the medians. */
export function verdicts(rows: readonly Row[], goals: readonly Goal[]): Verdict[] {
  return goals.map((goal) => {
    const { name, atLeast, atMost } = goal;
    const row = rows.find((each) => each.name === name);
    const limit = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`;
    if (!row || Number.isNaN(row.median)) {
      return { ...goal, measured: undefined, met: undefined, line: `– ${name}: not measured (${limit})` };
    }
    const { median, min, max } = row;
    const met = median >= (atLeast ?? -Infinity) && median <= (atMost ?? Infinity);
    const [middle, low, high] = [median, min, max].map((value) => Number(value.toPrecision(3)));
    const line = `${met ? '✓' : '✗'} ${name}: ${middle} (${low} to ${high}), goal ${limit}`;
    return { ...goal, measured: median, met, line };
  });
}
