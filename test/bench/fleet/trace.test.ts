import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BOUNDS } from '../../../bench/fleet/compare.js';
import { costsOf, type Measured } from '../../../bench/fleet/measure.js';
import {
  type HpaTrace,
  type PodStart,
  simulateTrace,
  startMsOf,
  trafficOfSteps,
} from '../../../bench/fleet/trace.js';

const trace = JSON.parse(readFileSync('bench/fleet/trace.json', 'utf8')) as HpaTrace;
const { measured } = JSON.parse(readFileSync('bench/fleet/measured.json', 'utf8')) as { measured: Measured };
const costs = costsOf(measured, measured.overload.refusalMs);
const limits = { maxQueue: 2_048, maxQueueMs: 30_000, maxConnections: 1_000 };

it('trafficOfSteps changes its rate where a step ends', () => {
  const { endMs, rateAt } = trafficOfSteps([
    { perSecond: 10, seconds: 2 },
    { perSecond: 30, seconds: 1 },
  ]);
  expect(endMs).toBe(3_000);
  expect([0, 1_999, 2_000, 2_999, 3_000].map(rateAt)).toEqual([10, 10, 30, 30, 0]);
});

it('startMsOf is the median of what comes before and after the boot', () => {
  const start = (endpointMs: number): PodStart => ({
    scheduledMs: 100,
    startedMs: 20,
    bootMs: 9_999,
    endpointMs,
  });
  expect(startMsOf({ starts: [start(1_800), start(40), start(300)] })).toBe(420);
});

describe('the recorded trace of the HPA', () => {
  it('went up and down', () => {
    const sizes = trace.seen.map(({ wanted }) => wanted);
    expect(Math.max(...sizes)).toBeGreaterThan(2 * trace.min);
    expect(sizes.at(-1)).toBeLessThan(Math.max(...sizes));
  });

  it('is simulated within the bound', () => {
    const { replicas } = simulateTrace(trace, costs, limits);
    expect(Math.abs(replicas.simulated / replicas.real - 1)).toBeLessThanOrEqual(BOUNDS.replicas);
  });

  it('is simulated with other sizes for another target', () => {
    const { replicas } = simulateTrace({ ...trace, cpu: 2 * trace.cpu }, costs, limits);
    expect(replicas.simulated).toBeLessThan(0.8 * replicas.real);
  });
});
