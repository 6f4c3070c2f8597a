import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from '../../bench/samples.js';
import type { Row } from '../../campaign/row.js';
import { check, type Trial } from '../../campaign/trial.js';
import { Crowd } from '../crowd.js';
import { Monitor } from '../monitor.js';
import { type OpenLoop, openLoop } from '../open-loop.js';

/** Offered load as a share of what was measured to be possible. */
const SHARES = [0.5, 0.8, 1.2, 2, 4] as const;
const MIN_GOODPUT = 0.9;
const MAX_P99 = 2;
const MAX_REFUSAL_MS = 50;
const MAX_HEALTH_MS = 20;
const MAX_RECOVERY_MS = 2_000;
/** More clients than workers, so that none of them ever idles. */
const CAPACITY_CLIENTS = 16;
const CORES = availableParallelism();

/** What came of a crowd's work, and how many cores the crowd took for it, on average. */
async function withCores<Result>(crowd: Crowd, work: () => Promise<Result>): Promise<[Result, number]> {
  const [since, before] = [performance.now(), crowd.cpuMs];
  const result = await work();
  return [result, (crowd.cpuMs - before) / (performance.now() - since)];
}

async function overload(trial: Trial): Promise<void> {
  const { short } = trial;
  // At 120 % it takes five seconds until a queue is full, and two until that can be seen no more.
  const seconds = short ? 1 : 12;
  const daemon = await trial.sandbox.daemon({
    MODEL_CACHE_DIR: await trial.sandbox.filledVolume(),
    INFERENCE_WORKERS: String(CORES),
    // The flood comes from one machine over as many connections as it needs.
    MAX_CONNECTIONS: '100000',
    REQUEST_TIMEOUT_MS: '30000',
    EMBEDDING_CACHE_BYTES: '0',
  });
  await daemon.ready(60_000);
  const crowd = await Crowd.start(trial.sandbox);
  await crowd.do('capacityOf', daemon.url, CAPACITY_CLIENTS, short ? 0.5 : 3);
  const [capacity, usualCores] = await withCores(crowd, () =>
    crowd.do('capacityOf', daemon.url, CAPACITY_CLIENTS, seconds),
  );
  trial.note(
    `capacity ${capacity.toFixed(0)} answers a second (${CAPACITY_CLIENTS} clients in a closed loop, which took ${usualCores.toFixed(2)} cores)`,
  );
  let calmP99 = Number.NaN;
  for (const share of short ? [0.5, 4] : SHARES) {
    const monitor = new Monitor(daemon.url);
    const [result, cores] = await withCores(crowd, () =>
      crowd.do('openLoop', daemon.url, share * capacity, seconds),
    );
    const ended = performance.now();
    // The clients share the daemon's cores here, and a flood of them takes more than those by whom capacity was measured.
    const left = Math.min(1, (CORES - cores) / (CORES - usualCores));
    await monitor.stop();
    const p99 = quantile(result.settled.accepted, 0.99);
    if (share === 0.8) calmP99 = p99;
    const percent = `${Math.round(share * 100)} %`;
    trial.note(`${figures(percent, result, monitor, capacity)}; the clients took ${cores.toFixed(2)} cores`);
    await judgeShare(trial, percent, { result, monitor, p99, calmP99, share, capacity: left * capacity });
    if (share === 4 && !short) await recovers(trial, daemon.url, calmP99, ended);
    await sleep(short ? 0 : 2_000);
  }
}

function figures(percent: string, result: OpenLoop, monitor: Monitor, capacity: number): string {
  const ms = (values: readonly number[], share: number): string =>
    values.length === 0 ? '-' : `${quantile(values, share).toFixed(0)} ms`;
  return [
    `${percent}: ${result.sent} sent, goodput ${result.goodput.toFixed(0)}/s (${Math.round((100 * result.goodput) / capacity)} % of capacity)`,
    `accepted p50 ${ms(result.accepted, 0.5)} p99 ${ms(result.accepted, 0.99)}, once settled p99 ${ms(result.settled.accepted, 0.99)}`,
    `${result.refused.length} refused, p99 ${ms(result.refused, 0.99)}, once settled p99 ${ms(result.settled.refused, 0.99)}`,
    `the clients were themselves late by ${ms(result.late, 0.99)}`,
    `/livez and /health p99 ${ms(monitor.latencies, 0.99)}, asked by who was late by ${ms(monitor.late, 0.99)}`,
  ].join('; ');
}

interface ShareFacts {
  readonly result: OpenLoop;
  readonly monitor: Monitor;
  readonly p99: number;
  readonly calmP99: number;
  readonly share: number;
  /** Answers a second that the cores which the clients leave are good for. */
  readonly capacity: number;
}

async function judgeShare(
  trial: Trial,
  percent: string,
  { result, monitor, p99, calmP99, share, capacity }: ShareFacts,
): Promise<void> {
  await trial.attempt(`${percent}: every answer is 200, or a refusal with Retry-After`, async () =>
    check(result.odd.length === 0, `${result.odd.length} others, such as ${result.odd[0]}`),
  );
  await trial.attempt(`${percent}: the monitors' paths are never shed`, async () =>
    check(monitor.faults.length === 0, monitor.faults.slice(0, 3).join(', ')),
  );
  if (trial.short) return;
  await trial.attempt(`${percent}: the monitors' paths are fast`, async () => {
    const slowest = quantile(monitor.latencies, 0.99);
    check(slowest < MAX_HEALTH_MS, `p99 ${slowest.toFixed(1)} ms`);
  });
  const wanted = MIN_GOODPUT * Math.min(1, share) * capacity;
  await trial.attempt(`${percent}: goodput`, async () =>
    check(result.goodput >= wanted, `${result.goodput.toFixed(0)} of ${wanted.toFixed(0)} a second`),
  );
  if (share > 1) {
    await trial.attempt(`${percent}: accepted requests keep their latency`, async () =>
      check(p99 <= MAX_P99 * calmP99, `p99 ${p99.toFixed(0)} ms, ${calmP99.toFixed(0)} ms at 80 %`),
    );
  }
  if (result.settled.refused.length > 0) {
    await trial.attempt(`${percent}: refusals are fast`, async () => {
      const slowest = quantile(result.settled.refused, 0.99);
      check(slowest < MAX_REFUSAL_MS, `p99 ${slowest.toFixed(0)} ms`);
    });
  }
}

/** After the flood, a request is soon as fast as on a calm day. */
async function recovers(trial: Trial, url: string, calmP99: number, ended: number): Promise<void> {
  await trial.attempt('recovery', async () => {
    for (;;) {
      const { accepted } = await openLoop(url, 20, 0.1);
      const ms = performance.now() - ended;
      if (accepted.length > 0 && Math.max(...accepted) <= MAX_P99 * calmP99) {
        trial.note(`recovered ${ms.toFixed(0)} ms after the flood`);
        check(ms < MAX_RECOVERY_MS, `took ${ms.toFixed(0)} ms`);
        return;
      }
      check(ms < 30_000, 'not within 30 s');
    }
  });
}

export const OVERLOAD: readonly Row[] = [
  { number: 10, fault: 'more requests than can be answered', long: true, run: overload },
];
