import { describe, expect, it } from 'vitest';
import { Clock, Machine, Process } from '../../../bench/fleet/machine.js';
import { choose, Latencies, Replica } from '../../../bench/fleet/simulation.js';
import { BATCH_LIMITS } from '../../../src/inference/batches.js';
import { NICENESS } from '../../../src/shared/child.js';
import { Random } from '../../support/random.js';
import { mean, quantile } from '../../support/stats.js';

const NO_LIMITS = { maxQueue: 1e9, maxQueueMs: 1e9, maxConnections: 1e9 };
const COSTS = {
  requestMs: 0.4,
  messageMs: 0.3,
  passMs: 1,
  textMs: 1.5,
  refusalMs: 0.2,
  idleMs: 0,
  tokens: 11,
  work: 15,
  spread: { http: [0.5, 1.5], worker: [0.9, 1.1] },
};

/** Calls at random moments, so many a millisecond on average. */
function poisson(clock: Clock, perMs: number, count: number, call: (due: number) => void): void {
  const random = new Random(7);
  let due = 0;
  const next = (left: number): void => {
    if (left === 0) return;
    due -= Math.log(1 - random.next()) / perMs;
    clock.at(due, (now) => {
      call(now);
      next(left - 1);
    });
  };
  next(count);
}

describe('Process and Machine as known queues', () => {
  it.each([0.5, 0.8])('M/D/1: a process at load %d waits as Pollaczek and Khinchine say', (load) => {
    const clock = new Clock();
    const process = new Process(new Machine(clock, 1), 0);
    const waits: number[] = [];
    poisson(clock, load, 100_000, (due) => process.run(1, (now) => waits.push(now - due - 1)));
    clock.run();
    const expected = load / (2 * (1 - load));
    expect(mean(waits) / expected).toBeGreaterThan(0.95);
    expect(mean(waits) / expected).toBeLessThan(1.05);
  });

  it('M/D/1 with processor sharing: processes that share a core stay S / (1 - load)', () => {
    const clock = new Clock();
    const machine = new Machine(clock, 1);
    const stays: number[] = [];
    // Work of many ticks: with less, who came first is done first.
    poisson(clock, 0.6 / 50, 20_000, (due) =>
      new Process(machine, 0).run(50, (now) => stays.push(now - due)),
    );
    clock.run();
    expect((mean(stays) * (1 - 0.6)) / 50).toBeGreaterThan(0.9);
    expect((mean(stays) * (1 - 0.6)) / 50).toBeLessThan(1.1);
  });
});

describe('Machine', () => {
  /** Begins work of each rank at these moments, and returns when it ends. */
  const end = (cores: number, work: readonly { rank: 0 | 1; ms: number; at?: number }[]): number[] => {
    const clock = new Clock();
    const machine = new Machine(clock, cores);
    const ends = work.map(() => 0);
    for (const [index, { rank, ms, at = 0 }] of work.entries())
      clock.at(at, () =>
        new Process(machine, rank).run(ms, (now) => {
          ends[index] = now;
        }),
      );
    clock.run();
    expect(machine.busyMs).toBeCloseTo(work.reduce((sum, { ms }) => sum + ms, 0));
    return ends;
  };
  const worker = (ms: number, at = 0) => ({ rank: 1, ms, at }) as const;
  const http = (ms: number, at = 0) => ({ rank: 0, ms, at }) as const;

  it('gives each process a core while there are enough', () => {
    expect(end(2, [worker(10), worker(10)])).toEqual([10, 10]);
  });

  it('shares cores equally, to a tick', () => {
    for (const at of end(2, [worker(100), worker(100), worker(100), worker(100)]))
      expect(Math.abs(200 - at)).toBeLessThanOrEqual(8);
  });

  it('gives shares by weight', () => {
    const [slow = 0, fast = 0] = end(1, [worker(1_000), http(1_000)]);
    expect(slow).toBeCloseTo(2_000);
    expect(fast / (1_000 + 1_000 * 1.25 ** -NICENESS)).toBeCloseTo(1, 1);
  });

  it('interrupts one that had its slice for one that wakes up, and any other at the next tick', () => {
    expect(end(1, [worker(50), http(1, 10.5)])[1]).toBeCloseTo(11.5);
    expect(end(1, [worker(50), http(1, 0.5)])[1]).toBeCloseTo(5);
  });
});

describe('Replica', () => {
  it('answers every request once, whatever the load', () => {
    for (const perMs of [0.1, 0.4, 3]) {
      const clock = new Clock();
      const replica = new Replica(
        new Machine(clock, 1),
        COSTS,
        { ...NO_LIMITS, maxQueueMs: 500 },
        new Random(1),
      );
      const seen = { accepted: 0, refused: 0 };
      poisson(clock, perMs, 5_000, () =>
        replica.receive((status) => {
          seen[status] += 1;
        }),
      );
      clock.run();
      expect(seen.accepted + seen.refused).toBe(5_000);
      expect(seen.refused > 0).toBe(perMs > 1);
      expect(replica.texts).toBe(seen.accepted);
      expect(replica.active).toBe(0);
      expect(replica.waiting).toBe(0);
    }
  });

  it('lets accepted texts wait for about MAX_QUEUE_MS in overload', () => {
    const clock = new Clock();
    const replica = new Replica(
      new Machine(clock, 1),
      COSTS,
      { ...NO_LIMITS, maxQueueMs: 500 },
      new Random(1),
    );
    const waits: number[] = [];
    poisson(clock, 3, 20_000, (due) =>
      replica.receive((status, now) => status === 'accepted' && waits.push(now - due)),
    );
    clock.run();
    expect(quantile(waits, 0.5)).toBeGreaterThan(300);
    expect(quantile(waits, 0.5)).toBeLessThan(900);
  });

  it('runs a lone text alone and shares passes under load, within the limits of a batch', () => {
    const passes = (perMs: number): number => {
      const clock = new Clock();
      const replica = new Replica(
        new Machine(clock, 1),
        COSTS,
        { ...NO_LIMITS, maxQueueMs: 500 },
        new Random(1),
      );
      poisson(clock, perMs, 5_000, () => replica.receive(() => undefined));
      clock.run();
      return replica.texts / replica.passes;
    };
    expect(passes(0.001)).toBeCloseTo(1);
    expect(passes(2)).toBeGreaterThan(5);
    expect(passes(2)).toBeLessThanOrEqual(BATCH_LIMITS.tokens / COSTS.tokens);
  });
});

it('choose gives the fewest open requests the next one', () => {
  const clock = new Clock();
  const random = new Random(1);
  const replicas = [1, 2, 3].map(() => new Replica(new Machine(clock, 1), COSTS, NO_LIMITS, random));
  for (let sent = 0; sent < 30; sent += 1) choose(replicas, 'least', random).receive(() => undefined);
  expect(replicas.map(({ active }) => active)).toEqual([10, 10, 10]);
});

it('Latencies keep quantiles to 2 %', () => {
  const latencies = new Latencies();
  for (let ms = 1; ms <= 1_000; ms += 1) latencies.note(ms);
  expect(latencies.quantile(0.5) / 500).toBeCloseTo(1, 1);
  expect(latencies.quantile(0.99) / 990).toBeCloseTo(1, 1);
  expect(new Latencies().quantile(0.5)).toBeNaN();
});
