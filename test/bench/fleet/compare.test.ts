import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  arrivalsOf,
  BOUNDS,
  type Compared,
  costsAt,
  errorsOf,
  isWithinBounds,
  sharingOf,
  simulateBoots,
  simulateRun,
} from '../../../bench/fleet/compare.js';
import { costsOf, type Measured } from '../../../bench/fleet/measure.js';
import { SETTINGS } from '../../../src/config/settings.js';
import { mean } from '../../support/stats.js';

const { measured, compared } = JSON.parse(readFileSync('bench/fleet/measured.json', 'utf8')) as {
  measured: Measured;
  compared: Compared;
};
const LIMITS = {
  maxQueue: SETTINGS.maxQueue.fallback({}),
  maxQueueMs: SETTINGS.maxQueueMs.fallback({}),
  maxConnections: SETTINGS.maxConnections.fallback({}),
  gathering: compared.gathering,
};

describe('arrivalsOf', () => {
  it('repeats itself, at random moments at the rate', () => {
    const load = { seed: 5, base: 200, burst: 200 };
    const moments = arrivalsOf(load, 20);
    expect(arrivalsOf(load, 20)).toEqual(moments);
    expect(arrivalsOf({ ...load, seed: 6 }, 20)).not.toEqual(moments);
    expect(moments.length / 4_000).toBeCloseTo(1, 1);
    expect(moments.toSorted((a, b) => a - b)).toEqual(moments);
    const gaps = moments.slice(1).map((moment, index) => moment - (moments[index] ?? 0));
    // Of exponential gaps, 37 in 100 are longer than the mean of 5 ms.
    expect(gaps.filter((gap) => gap > 5).length / gaps.length).toBeCloseTo(Math.exp(-1), 1);
  });

  it('has bursts in the last two of five seconds', () => {
    const moments = arrivalsOf({ seed: 5, base: 10, burst: 1_000 }, 20);
    const inBursts = moments.filter((moment) => moment % 5_000 >= 3_000);
    expect(inBursts.length / 8_000).toBeCloseTo(1, 1);
    expect((moments.length - inBursts.length) / 120).toBeCloseTo(1, 0);
  });
});

describe('the recorded measurement', () => {
  const sharing = sharingOf(measured, compared.runs, LIMITS);
  const costs = costsAt(measured, sharing);

  it('gives costs that are positive, and passes that cost no less where caches are shared', () => {
    const alone = costsOf(measured, measured.overload.refusalMs);
    const { spread, ...times } = alone;
    for (const value of [...Object.values(times), ...spread.http, ...spread.worker])
      expect(value).toBeGreaterThanOrEqual(0);
    for (const factors of [spread.http, spread.worker]) expect(mean(factors)).toBeCloseTo(1);
    expect(alone.passMs).toBeGreaterThan(0);
    expect(costs.passMs).toBeGreaterThanOrEqual(alone.passMs);
    expect(costs.textMs).toBe(alone.textMs);
  });

  it.each(compared.runs)('is simulated within the bounds: $load', (run) => {
    const simulated = simulateRun(run, costs, LIMITS);
    expect(simulated.sent).toBe(run.real.sent);
    expect(errorsOf(simulated, run)).toSatisfy(isWithinBounds);
  });
});

it('the recorded boots are simulated within the bound', () => {
  const sharing = sharingOf(measured, compared.runs, LIMITS);
  const error = simulateBoots(measured, sharing, 2) / compared.allServeMs - 1;
  expect(Math.abs(error)).toBeLessThanOrEqual(BOUNDS.boots);
});

it('each error alone is out of bounds when it is too large, to either side', () => {
  const none = { throughput: 0, p50: 0, p99: 0, refusedPoints: 0 };
  expect(isWithinBounds(none)).toBe(true);
  const { throughput, p50, p99, refusedPoints } = BOUNDS;
  for (const [key, bound] of Object.entries({ throughput, p50, p99, refusedPoints }))
    for (const sign of [-1, 1]) {
      expect(isWithinBounds({ ...none, [key]: sign * bound * 0.99 })).toBe(true);
      expect(isWithinBounds({ ...none, [key]: sign * bound * 1.01 })).toBe(false);
    }
});
