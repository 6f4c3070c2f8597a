import { setTimeout as sleep } from 'node:timers/promises';
import { metricOf } from '../../../test/support/metric.js';
import { cpuTimeOf } from '../../cpu-time.js';
import { familyOf } from '../../memory.js';
import { type Passes, runTogether, startPasses } from '../../raw/passes-process.js';
import { modelPath, type Row } from '../../raw/runtime.js';
import type { Bench, Goal, Part } from '../bench.js';
import { type ClosedLoop, closedLoop, freshText } from '../closed-loop.js';
import { loadPlainTokenizer } from '../plain-embedder.js';
import { type Prober, startProber } from '../prober-process.js';

const CONNECTIONS = [1, 8, 32] as const;
/** Probes of a path beside the load: so many that the 99th percentile is not the worst one. */
const PROBES = 300;
/** The load stands: its connections are open, and code that was cold is warm. Probes begin then. */
const STANDS_AFTER_MS = 500;
/** `/metrics` is no small answer: asked as often as `/health`, it would be the load. */
const SCRAPED = 3;
/** The histogram behind `nodejs_eventloop_lag` measures from tick to tick of a timer of this interval. */
const LAG_INTERVAL_MS = 10;

export const closedGoals: readonly Goal[] = [
  { name: '8 connections ÷ raw limit', atLeast: 0.88 },
  { name: '32 connections ÷ raw limit', atLeast: 0.88 },
  { name: '8 connections ÷ naive', atLeast: 5 },
  { name: '32 connections ÷ naive', atLeast: 5 },
  { name: '32 connections, p99 ÷ p50', atMost: 3 },
  { name: '1 connection, p50 ÷ raw pass with all cores', atMost: 1.3 },
  { name: '/health beside 32 connections, p99 ms', atMost: 20 },
  { name: '/metrics beside 32 connections, p99 ms', atMost: 20 },
  { name: 'event-loop delay beside 32 connections, p99 ms', atMost: 10 },
  { name: 'repeated ÷ unique, 32 connections', atLeast: 10 },
];

/** Many clients, one client, and repeated texts, beside the raw limit of the machine and a naive server. */
export const closed: Part = async (bench) => {
  const { samples, seconds } = bench;
  const { url, pid } = await bench.daemon();
  const naive = await bench.yardstick('naive');
  const bare = await bench.yardstick('bare');
  const merged = await bench.yardstick('merged');
  const [main = 0, ...workers] = familyOf(pid);
  const passes = await rawPasses(bench);
  let before = await rawRate(bench);
  for (const connections of CONNECTIONS) {
    const name = `${connections} connection${connections === 1 ? '' : 's'}`;
    const plain = await closedLoop(naive.url, { connections, seconds });
    const least = await closedLoop(bare.url, { connections, seconds });
    // A single connection has one of its processes only.
    const together = connections > 1 ? await closedLoop(merged.url, { connections, seconds }) : undefined;
    samples.note(`naive, ${name}, req/s`, plain.rate);
    samples.note(`bare server, ${name}, req/s`, least.rate);
    await lagOf(url);
    const spent = { main: cpuTimeOf(main), workers: sum(workers.map(cpuTimeOf)) };
    const [ours, health] = await Promise.all([
      closedLoop(url, { connections, seconds, timings: connections === 1 }),
      connections === 32 ? probe(bench, `${url}/health`, seconds) : Promise.resolve(Number.NaN),
    ]);
    const lag = await lagOf(url);
    const requests = ours.rate * seconds;
    const costs = {
      client: ours.clientCpuMs,
      'HTTP process': (cpuTimeOf(main) - spent.main) / requests,
      workers: (sum(workers.map(cpuTimeOf)) - spent.workers) / requests,
    };
    // The machine's pace changes within seconds, so the limit is that of just before and just after.
    const after = await rawRate(bench);
    const limit = (before + after) / 2;
    before = after;
    samples.note(`${name}, req/s`, ours.rate);
    samples.note(`${name}, p50 ms`, ours.p50);
    samples.note(`${name}, p99 ms`, ours.p99);
    samples.note(`${name} ÷ naive`, ours.rate / plain.rate);
    samples.note(`${name} ÷ bare server`, ours.rate / least.rate);
    samples.note(`${name} ÷ raw limit`, ours.rate / limit);
    samples.note(`bare server, ${name} ÷ raw limit`, least.rate / limit);
    if (together) samples.note(`merged server, ${name} ÷ raw limit`, together.rate / limit);
    if (connections === 1) {
      samples.note('1 connection, p50 ÷ raw pass with all cores', ours.p50 / passes.wideP50);
      samples.note('1 connection, p50 ÷ raw pass with one thread', ours.p50 / passes.narrowP50);
      noteTimings(bench, ours);
    }
    if (connections === 32) {
      for (const [who, ms] of Object.entries(costs))
        samples.note(`32 connections, CPU of ${who}, ms per request`, ms);
      samples.note('32 connections, p99 ÷ p50', ours.p99 / ours.p50);
      samples.note('/health beside 32 connections, p99 ms', health);
      samples.note('event-loop delay beside 32 connections, p99 ms', lag);
      const repeated = await closedLoop(url, { connections, seconds, repeated: true });
      samples.note('repeated text, 32 connections, req/s', repeated.rate);
      samples.note('repeated ÷ unique, 32 connections', repeated.rate / ours.rate);
    }
  }
  // On its own, for every scrape empties the histogram of the event loop's delay.
  const [, metrics] = await Promise.all([
    closedLoop(url, { connections: 32, seconds: SCRAPED * seconds }),
    probe(bench, `${url}/metrics`, SCRAPED * seconds),
  ]);
  samples.note('/metrics beside 32 connections, p99 ms', metrics);
};

/** p99 of a path asked beside a load of so many seconds that begins now, in milliseconds. */
async function probe(bench: Bench, url: string, seconds: number): Promise<number> {
  const { prober } = await meters(bench);
  await sleep(STANDS_AFTER_MS);
  const rest = seconds - STANDS_AFTER_MS / 1_000;
  const { acceptedP99, refusals } = await prober.probe(url, PROBES / rest, rest);
  if (refusals.size > 0) throw new Error(`${url} was refused: ${[...refusals.keys()].join()}`);
  return acceptedP99;
}

/** p99 of the HTTP thread's event-loop delay since the last call, in milliseconds. */
async function lagOf(url: string): Promise<number> {
  const seconds = await metricOf(url, 'nodejs_eventloop_lag_p99_seconds');
  return Math.max(0, seconds * 1_000 - LAG_INTERVAL_MS);
}

function noteTimings({ samples }: Bench, { timings }: ClosedLoop): void {
  for (const [name, ms] of timings) samples.note(`1 connection, Server-Timing ${name}, median ms`, ms);
  const share = (timings.get('tokenize') ?? Number.NaN) / (timings.get('total') ?? Number.NaN);
  samples.note("1 connection, tokenizer's share of a request, %", share * 100);
}

let rows: (readonly Row[])[] | undefined;
/** Processes that measure, started with the first round. */
interface Meters {
  readonly narrow: readonly Passes[];
  readonly wide: Passes;
  readonly prober: Prober;
}
let started: Promise<Meters> | undefined;

/** Forward passes of such texts, tokenized beforehand, without HTTP, on one single-threaded session per core: texts/s. */
async function rawRate(bench: Bench): Promise<number> {
  const { narrow } = await meters(bench);
  const { rate } = await runTogether(narrow, tokenized(), bench.seconds);
  bench.samples.note('raw limit, texts/s', rate);
  return rate;
}

/** Median of one forward pass at a time, with one thread and with all cores, in milliseconds. */
async function rawPasses(bench: Bench): Promise<{ narrowP50: number; wideP50: number }> {
  const { narrow, wide } = await meters(bench);
  const { p50: narrowP50 } = await runTogether(narrow.slice(0, 1), tokenized(), bench.seconds);
  const { p50: wideP50 } = await runTogether([wide], tokenized(), bench.seconds);
  bench.samples.note('raw pass with one thread, p50 ms', narrowP50);
  bench.samples.note('raw pass with all cores, p50 ms', wideP50);
  return { narrowP50, wideP50 };
}

function meters(bench: Bench): Promise<Meters> {
  started ??= start(bench);
  return started;
}

async function start({ cores }: Bench): Promise<Meters> {
  const model = modelPath('q8') ?? '';
  return {
    narrow: await Promise.all(Array.from({ length: cores }, () => startPasses({ model, threads: 1 }))),
    wide: await startPasses({ model, threads: cores }),
    prober: await startProber(),
  };
}

/** Ends the processes that measure. */
export async function closeMeters(): Promise<void> {
  if (!started) return;
  const { narrow, wide, prober } = await started;
  prober.stop();
  await Promise.all([...narrow, wide].map((passes) => passes.stop()));
}

function tokenized(): (readonly Row[])[] {
  rows ??= tokenize();
  return rows;
}

function tokenize(): (readonly Row[])[] {
  const tokenizer = loadPlainTokenizer();
  return Array.from({ length: 500 }, () => [tokenizer.encode(freshText()).ids]);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
