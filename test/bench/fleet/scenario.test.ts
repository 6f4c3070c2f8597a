import { describe, expect, it } from 'vitest';
import {
  type Load,
  type Scenario,
  simulateDay,
  timeUntilAllServe,
  trafficOf,
} from '../../../bench/fleet/scenario.js';
import { BATCH_LIMITS } from '../../../src/inference/batches.js';

const HOUR_MS = 3_600_000;
const LOAD: Load = {
  perSecond: 400,
  dayMs: HOUR_MS / 12,
  swing: 0,
  burstsPerDay: 0,
  burstFactor: 1,
  burstMs: 0,
};
const SCENARIO: Scenario = {
  costs: {
    requestMs: 0.4,
    messageMs: 0.3,
    passMs: 1,
    textMs: 1.5,
    refusalMs: 0.2,
    idleMs: 0.5,
    tokens: 11,
    work: 15,
    spread: { http: [0.5, 1.5], worker: [0.9, 1.1] },
  },
  limits: { maxQueue: 2_048, maxQueueMs: 500, maxConnections: 1_000 },
  traffic: trafficOf(LOAD, 1),
  rule: { kind: 'hpa', cpu: 70 },
  chart: { cores: 1, shutdownDelayMs: 5_000, scrapeMs: 15_000 },
  min: 1,
  max: 100,
  startMs: 5_000,
  balance: 'random',
  cell: 1,
  seed: 1,
};

describe('simulateDay', () => {
  it('answers every request once, and repeats itself with the same seed', () => {
    const day = simulateDay(SCENARIO);
    // All but those that are under way when the day ends: a pass and its next texts of each of three replicas or fewer.
    const underWay = day.sent - day.accepted - day.refused;
    expect(underWay).toBeGreaterThanOrEqual(0);
    expect(underWay).toBeLessThan(3 * 2 * BATCH_LIMITS.texts);
    expect(day.sent / (400 * 300)).toBeCloseTo(1, 1);
    expect(simulateDay(SCENARIO)).toEqual(day);
    expect(simulateDay({ ...SCENARIO, seed: 2 })).not.toEqual(day);
  });

  it('keeps as many replicas as the target of CPU asks for', () => {
    const { replicas, coreHours } = simulateDay(SCENARIO);
    // A text alone takes 3.2 ms of a core, in a shared pass down to 1.9: between 760 and 1,280 ms a second in all.
    expect(replicas.mean).toBeGreaterThan(0.76 / 0.7);
    expect(replicas.mean).toBeLessThan(1 + 1.28 / 0.63);
    expect(coreHours).toBeCloseTo(replicas.mean / 12);
  });

  it('refuses what does not fit into the most replicas that there may be', () => {
    const { refused, sent, replicas } = simulateDay({
      ...SCENARIO,
      max: 1,
      traffic: trafficOf({ ...LOAD, perSecond: 1_500 }, 1),
    });
    expect(replicas.most).toBe(1);
    // 1.9 ms of a core each at best.
    expect(1 - refused / sent).toBeLessThan(1 / (1.5 * 1.9));
    expect(refused).toBeLessThan(sent);
  });

  it('scales up in a burst, and down after it', () => {
    const burst = { ...LOAD, dayMs: HOUR_MS / 3, burstsPerDay: 1, burstFactor: 4, burstMs: 120_000 };
    const { replicas } = simulateDay({ ...SCENARIO, traffic: trafficOf(burst, 1) });
    expect(replicas.most).toBeGreaterThanOrEqual(2 * replicas.least);
    expect(replicas.mean).toBeLessThan(replicas.most);
  });

  it('counts a part of a fleet for the whole', () => {
    const whole = simulateDay({ ...SCENARIO, cell: 100 });
    const part = simulateDay({ ...SCENARIO, cell: 1 });
    expect(part.replicas.mean / whole.replicas.mean).toBeCloseTo(1, 0);
    expect(part.sent / whole.sent).toBeCloseTo(1, 1);
  });
});

describe('timeUntilAllServe', () => {
  const DISTRIBUTION = {
    replicas: 1_000,
    bytes: 20e6,
    feederPerSecond: 100e6,
    replicaPerSecond: 100e6,
    bootMs: 5_000,
  };

  it('is the time of all bytes through one feeder, and a boot', () => {
    expect(timeUntilAllServe(DISTRIBUTION)).toBeCloseTo(1_000 * ((1_000 * 20) / 100) + 5_000);
  });

  it('is a boot where the image has the model', () => {
    expect(timeUntilAllServe({ ...DISTRIBUTION, bytes: 0 })).toBe(5_000);
  });

  it('is the sum of the levels of a tree', () => {
    // 31 at the first level; 961 of the next fetch 31 at a time; 8 are left for a third.
    const level = (fed: number) => (fed * 20 * 1_000) / 100 + 5_000;
    expect(timeUntilAllServe({ ...DISTRIBUTION, fanOut: 31 })).toBeCloseTo(level(31) + level(31) + level(1));
    expect(timeUntilAllServe({ ...DISTRIBUTION, fanOut: 32 })).toBeCloseTo(level(32) + level(31));
  });
});
