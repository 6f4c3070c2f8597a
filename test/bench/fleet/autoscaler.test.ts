import { describe, expect, it } from 'vitest';
import { readChart, replicasForCpu, replicasForSum, Stabilizer } from '../../../bench/fleet/autoscaler.js';

/** Pods that use these shares of their requests; `unready` ones have no sample. */
const pods = (shares: readonly number[], unready = 0) => ({
  ready: shares.length,
  unready,
  share: shares.reduce((sum, share) => sum + share, 0) / shares.length,
});

describe('replicasForCpu', () => {
  // Documentation of the HorizontalPodAutoscaler, "Algorithm details".
  it('doubles at twice the target and halves at half of it', () => {
    expect(replicasForCpu(4, pods([1, 1, 1, 1]), 50)).toBe(8);
    expect(replicasForCpu(4, pods([0.25, 0.25, 0.25, 0.25]), 50)).toBe(2);
  });

  it('stays within a tenth of the target', () => {
    expect(replicasForCpu(10, pods(Array(10).fill(0.55)), 50)).toBe(10);
    expect(replicasForCpu(10, pods(Array(10).fill(0.45)), 50)).toBe(10);
    expect(replicasForCpu(10, pods(Array(10).fill(0.56)), 50)).toBe(12);
  });

  // The numbers of replica_calculator_test.go of Kubernetes 1.34.
  it.each([
    { name: 'ScaleUp', current: 3, cpu: pods([0.3, 0.5, 0.7]), target: 30, replicas: 5 },
    { name: 'ScaleUpUnreadyLessScale', current: 3, cpu: pods([0.5, 0.7], 1), target: 30, replicas: 4 },
    { name: 'ScaleUpUnreadyNoScale', current: 3, cpu: pods([0.4], 2), target: 30, replicas: 3 },
    { name: 'ScaleDown', current: 5, cpu: pods([0.1, 0.3, 0.5, 0.25, 0.25]), target: 50, replicas: 3 },
    {
      name: 'ScaleDownExcludeUnreadyPods',
      current: 5,
      cpu: pods([0.1, 0.3, 0.5], 2),
      target: 50,
      replicas: 2,
    },
    { name: 'Tolerance', current: 3, cpu: pods([1.01, 1.03, 1.02]), target: 100, replicas: 3 },
  ])('does as Kubernetes does in $name', ({ current, cpu, target, replicas }) => {
    expect(replicasForCpu(current, cpu, target)).toBe(replicas);
  });
});

// ScaleUpPerPodCMExternal, ScaleDownPerPodCMExternal, TolerancePerPodCMExternal of the same file.
it.each([
  { current: 3, sum: 8_600, perReplica: 2_150, replicas: 4 },
  { current: 5, sum: 8_600, perReplica: 3_000, replicas: 3 },
  { current: 4, sum: 8_600, perReplica: 2_200, replicas: 4 },
])(
  'replicasForSum: $sum by $perReplica from $current is $replicas',
  ({ current, sum, perReplica, replicas }) => {
    expect(replicasForSum(current, sum, perReplica)).toBe(replicas);
  },
);

describe('Stabilizer', () => {
  it('doubles at most, or goes to four', () => {
    expect(new Stabilizer(1, 100).next(0, 1, 50)).toBe(4);
    expect(new Stabilizer(1, 100).next(0, 10, 50)).toBe(20);
  });

  it('stays within least and most', () => {
    expect(new Stabilizer(2, 15).next(0, 10, 50)).toBe(15);
    expect(new Stabilizer(2, 15).next(0, 10, 0)).toBe(2);
  });

  it('goes down only after five minutes of lower recommendations', () => {
    const stabilizer = new Stabilizer(1, 100);
    const next = (seconds: number, recommended: number) => stabilizer.next(seconds * 1_000, 10, recommended);
    expect(next(0, 10)).toBe(10);
    expect(next(15, 3)).toBe(10);
    expect(next(300, 2)).toBe(10);
    expect(next(301, 2)).toBe(3);
    expect(next(316, 2)).toBe(2);
  });
});

it('the chart says what it needs', () => {
  const { hpa, keda, cores, shutdownDelayMs, scrapeMs } = readChart();
  for (const value of [hpa.min, hpa.cpu, keda.min, keda.waiting, cores, shutdownDelayMs, scrapeMs])
    expect(value).toBeGreaterThan(0);
});
