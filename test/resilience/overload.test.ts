import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect } from 'vitest';
import { eventually } from '../support/eventually.js';
import { type Answers, ClosedLoop, type OpenLoop, oneByOne, openLoop, type Shape } from '../support/load.js';
import { quantile } from '../support/stats.js';
import { has } from '../support/tools.js';
import { type Box, it, LONG, longIt } from './box.js';
import { Crowd } from './crowd.js';

const CORES = availableParallelism();
/** More clients than workers, so that none of these ever idles. */
const CAPACITY_CLIENTS = 16;
/** `MAX_QUEUE_MS` where the queue is to fill: in lasting overload every accepted text waits for about as long. */
const QUEUE_MS = 500;

/** Starts a daemon that takes a flood from one machine, over as many connections as it needs. */
async function flooded(box: Box, env: Readonly<Record<string, string>>) {
  return (await box.serving({ MAX_CONNECTIONS: '100000', REQUEST_TIMEOUT_MS: '60000', ...env })).daemon;
}

/** Measures what a daemon can do, in answers per second. */
async function capacityOf(crowd: Crowd, url: string, seconds: number, shape: Shape = {}): Promise<number> {
  const { perSecond, refused, odd } = await crowd.do('closedLoop', url, seconds, {
    clients: CAPACITY_CLIENTS,
    shape,
  });
  expect([refused.length, odd]).toEqual([0, []]);
  return perSecond;
}

/** Runs work of a crowd; `cores`: how many the crowd took on average. */
async function withCores<T>(crowd: Crowd, work: () => Promise<T>): Promise<{ result: T; cores: number }> {
  const [since, before] = [performance.now(), crowd.cpuMs];
  const result = await work();
  return { result, cores: (crowd.cpuMs - before) / (performance.now() - since) };
}

const ms = (values: readonly number[], share: number): string =>
  values.length === 0 ? '-' : `${quantile(values, share).toFixed(1)} ms`;

describe('more requests than can be answered', () => {
  longIt('goodput, latencies, refusals and health at 50 to 400 % of capacity', async ({ box }) => {
    const { url } = await flooded(box, { INFERENCE_WORKERS: String(CORES), MAX_QUEUE_MS: String(QUEUE_MS) });
    const [crowd, watch] = [await Crowd.start(box, 'first'), await Crowd.start(box, 'first')];
    const probe = (path: string) =>
      watch.do('closedLoop', url, 12, { clients: 1, shape: { get: path }, restMs: 50 });
    await capacityOf(crowd, url, 3);
    const { result: capacity, cores: usual } = await withCores(crowd, () => capacityOf(crowd, url, 12));
    box.note(`capacity ${capacity.toFixed(0)} answers/s; the clients took ${usual.toFixed(2)} cores`);
    const shortfalls: string[] = [];
    let calmP99 = Number.NaN;
    for (const share of [0.5, 0.8, 1.2, 2, 4]) {
      const probing = Promise.all([probe('/health'), probe('/livez')]);
      const { result, cores } = await withCores(crowd, () => crowd.do('openLoop', url, share * capacity, 12));
      const probes = await probing;
      // Here the clients share the daemon's cores, and a flood of them takes more than those that measured the capacity.
      const left = Math.min(1, (CORES - cores) / (CORES - usual));
      const p99 = quantile(result.settled.accepted, 0.99);
      if (share === 0.8) calmP99 = p99;
      const wanted = (share === 4 ? 0.75 : 0.9) * Math.min(1, share) * left * capacity;
      const name = `${share * 100} %`;
      box.note(
        `${name}: ${figures(result, capacity)}; probes p99 ${ms(
          probes.flatMap((one) => one.accepted),
          0.99,
        )}`,
      );
      const judge = (what: string, isMet: boolean): void =>
        void (isMet || shortfalls.push(`${name}: ${what}`));
      judge(`odd answers: ${result.odd[0]}`, result.odd.length === 0);
      for (const { accepted, sent } of probes) {
        judge('a probe was shed', accepted.length === sent);
        judge('a probe took 20 ms', quantile(accepted, 0.99) < 20);
      }
      judge(`goodput below ${wanted.toFixed(0)}/s`, result.goodput >= wanted);
      if (share > 1) judge(`accepted p99 ${p99.toFixed(0)} ms`, p99 <= 2 * QUEUE_MS);
      if (result.settled.refused.length > 0)
        judge('refusals took 50 ms', quantile(result.settled.refused, 0.99) < 50);
      if (share === 4) {
        await box.timed('recovery', 2_000, () =>
          eventually(async () => {
            const { accepted } = await openLoop(url, 20, 0.1);
            expect(Math.max(...accepted)).toBeLessThan(2 * calmP99);
            expect(accepted).not.toEqual([]);
          }),
        );
      }
      await sleep(2_000);
    }
    expect(shortfalls).toEqual([]);
  });

  it('every answer is 200 or a refusal with Retry-After, and health is never shed', async ({ box }) => {
    const { url } = await flooded(box, { MAX_QUEUE: '8' });
    const health = new ClosedLoop(url, { clients: 2, shape: { get: '/health' }, restMs: 20 });
    const flood = new ClosedLoop(url, { clients: 64, restMs: 20 });
    await eventually(() => expect(flood.answers.refused.length).toBeGreaterThan(100), { within: 60_000 });
    const { accepted, odd } = await flood.stop();
    expect(odd).toEqual([]);
    expect(accepted).not.toEqual([]);
    const probes = await health.stop();
    expect(probes.accepted).toHaveLength(probes.sent);
  });
});

function figures(
  { sent, accepted, refused, settled, late, ownLagMs, goodput }: OpenLoop,
  capacity: number,
): string {
  return [
    `${sent} sent, goodput ${goodput.toFixed(0)}/s (${Math.round((100 * goodput) / capacity)} % of capacity)`,
    `accepted p50 ${ms(accepted, 0.5)} p99 ${ms(accepted, 0.99)}, settled ${ms(settled.accepted, 0.99)}`,
    `${refused.length} refused, p99 ${ms(refused, 0.99)}, settled ${ms(settled.refused, 0.99)}`,
    `the clients were late by ${ms(late, 0.99)} and did not run for ${ownLagMs.toFixed(1)} ms`,
  ].join('; ');
}

/** Two clients that the daemon tells apart. */
interface Pair {
  readonly greedy: Shape;
  readonly modest: Shape;
  readonly env: Readonly<Record<string, string>>;
}

const KEYS = ['resilience-greedy-client-key', 'resilience-modest-client-key'] as const;
const PAIRS: readonly (readonly [by: string, pair: Pair])[] = [
  ['key', { greedy: { key: KEYS[0] }, modest: { key: KEYS[1] }, env: { API_KEYS: KEYS.join() } }],
  [
    'address',
    {
      // It claims another address with each request, which must not be believed.
      greedy: { localAddress: '127.0.0.2', forged: true },
      modest: { localAddress: '127.0.0.3' },
      env: { TRUST_PROXY: 'none' },
    },
  ],
];
const pairs = PAIRS.filter(([by]) => by === 'key' || has('127.0.0.x'));

function expectFair(many: Answers, few: Answers): void {
  expect(few.odd).toEqual([]);
  expect(few.accepted, 'the modest client').toHaveLength(few.sent);
  expect(many.odd).toEqual([]);
  expect(many.accepted, 'the greedy client').not.toEqual([]);
  expect(many.refused, 'the greedy client').not.toEqual([]);
}

describe('a client that floods is refused, another one is not', () => {
  it.for(pairs)('by %s, with a full queue', async ([, { greedy, modest, env }], { box }) => {
    const { url } = await flooded(box, { MAX_QUEUE: '8', MAX_QUEUE_MS: '600000', ...env });
    const flood = new ClosedLoop(url, { clients: 64, shape: greedy, restMs: 50 });
    await eventually(() => expect(flood.answers.refused).not.toEqual([]), { within: 60_000 });
    // So many that one of them would find the queue full, if all of it were the greedy client's to fill.
    const few = await oneByOne(url, 20, modest);
    expectFair(await flood.stop(), few);
  });

  it.for(pairs)('by %s, with a rate limit', async ([, { greedy, modest, env }], { box }) => {
    const { url } = await flooded(box, { RATE_LIMIT: '30/day', MAX_QUEUE_MS: '60000', ...env });
    const [many, few] = await Promise.all([openLoop(url, 120, 1, greedy), openLoop(url, 10, 1, modest)]);
    expectFair(many, few);
    expect(many.accepted).toHaveLength(30);
  });

  it.runIf(LONG).for(pairs)(
    'by %s: it does not wait for the flood either',
    async ([, { greedy, modest, env }], { box }) => {
      const { url } = await flooded(box, { INFERENCE_WORKERS: String(CORES), MAX_QUEUE_MS: '1000', ...env });
      const [crowd, other] = [await Crowd.start(box, 'first'), await Crowd.start(box, 'first')];
      const capacity = await capacityOf(crowd, url, 10, greedy);
      const alone = quantile((await other.do('openLoop', url, 10, 10, modest)).accepted, 0.99);
      const [many, few] = await Promise.all([
        crowd.do('openLoop', url, 3 * capacity, 10, greedy),
        other.do('openLoop', url, 10, 10, modest),
      ]);
      box.note(
        `modest p99 ${alone.toFixed(0)} ms alone, ${ms(few.accepted, 0.99)} beside 300 % of ${capacity.toFixed(0)}/s ` +
          `(late by ${ms(few.late, 0.99)}, did not run for ${few.ownLagMs.toFixed(1)} ms); greedy: ${many.accepted.length} of ${many.sent} answered`,
      );
      expectFair(many, few);
      // A quarter of the queue that one client may make.
      expect(quantile(few.accepted, 0.99)).toBeLessThan(250);
    },
  );
});
