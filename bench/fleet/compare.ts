import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { TURN } from '../../src/inference/batches.js';
import { Crowd } from '../../test/resilience/crowd.js';
import { metricOf } from '../../test/support/metric.js';
import { cpuMsOf, exactCpuMsOf } from '../../test/support/processes.js';
import { Random } from '../../test/support/random.js';
import { mean, quantile } from '../../test/support/stats.js';
import { own, writeRoutes } from '../measure.js';
import { Clock, Machine, Process } from './machine.js';
import { boot, costsOf, type Measured, processesOf, SIMULATED_WORDS, startProxy } from './measure.js';
import { timeUntilAllServe } from './scenario.js';
import { type Costs, choose, type Gathering, type Limits, Replica } from './simulation.js';

const REPLICAS = 4;
const SECONDS = 20;
const WARM_SECONDS = 4;
const SECOND = 1_000;
/** Bounds of the fit of {@link sharingOf}. */
const MAX_SHARING = 3;
const FIT_STEPS = 7;
const PASSES = 'ai_router_inference_passes_total';
/** How often it is read what other programs use, and the work that they have at a time in the simulation. */
const OTHERS_EVERY_MS = 250;
const OTHERS_MS = 4;
/** The client looks for requests that are due this often (`openLoop`). */
const CLIENT_TURN_MS = 2;

/** Loads, as shares of what the machine can do by the measured costs. */
const LOADS = {
  'constant, 50 %': { seed: 1, base: 0.5, burst: 0.5 },
  'constant, 80 %': { seed: 2, base: 0.8, burst: 0.8 },
  'bursts of 2 s in 5 s, 30 and 160 %': { seed: 3, base: 0.3, burst: 1.6 },
} as const;
const BURST = { everyMs: 5_000, forMs: 2_000 } as const;

/**
 * How far off the simulation may be before larger figures mean nothing: shares of the real value, and points of percent.
 * `replicas` is that of the HPA's average.
 */
export const BOUNDS = {
  throughput: 0.12,
  p50: 0.2,
  p99: 0.3,
  refusedPoints: 8,
  boots: 0.2,
  replicas: 0.15,
} as const;

/** Outcome of a load. */
export interface Results {
  readonly sent: number;
  readonly refused: number;
  /** Accepted requests per second of the load. */
  readonly throughput: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly textsPerPass: number;
}

/** One load on four real daemons, as it was. */
export interface Run {
  readonly load: string;
  readonly seed: number;
  /** Requests per second outside bursts, and in them. */
  readonly base: number;
  readonly burst: number;
  /** CPU time of other programs in each {@link OTHERS_EVERY_MS} of the load, in milliseconds. */
  readonly othersMs: readonly number[];
  /** CPU time of client and proxy for each request. */
  readonly clientMs: number;
  readonly proxyMs: number;
  /** How late the client itself sent, in milliseconds; latencies include it. */
  readonly lateP99Ms: number;
  readonly real: Results;
}

/** Outcome of four daemons. */
export interface Compared {
  /** Until all of them served, who started at once with the model from one feeder. */
  readonly allServeMs: number;
  /** What the four daemons had. */
  readonly gathering: Gathering;
  readonly runs: readonly Run[];
}

/** The moments of a load's requests, in milliseconds: at random, at the rate of the moment. */
function arrivalsOf(
  { seed, base, burst }: Pick<Run, 'seed' | 'base' | 'burst'>,
  seconds = SECONDS,
): number[] {
  const random = new Random(seed);
  const moments: number[] = [];
  const fastest = Math.max(base, burst) / SECOND;
  for (let at = 0; ; ) {
    at -= Math.log(1 - random.next()) / fastest;
    if (at >= seconds * SECOND) return moments;
    const rate = at % BURST.everyMs >= BURST.everyMs - BURST.forMs ? burst : base;
    if (random.next() < rate / SECOND / fastest) moments.push(at);
  }
}

/** Starts four real daemons from one feeder, and sends the loads to them through HAProxy, on all cores of this machine. */
export async function runReal(
  folder: string,
  measured: Measured,
  say: (line: string) => void,
): Promise<Compared> {
  const env = { ROUTES_FILE: await writeRoutes(folder) };
  const { daemon: feeder } = await boot({
    ...env,
    MODEL_CACHE_DIR: `${folder}/feeding`,
    MODEL_SOURCES: 'bundled',
    SERVE_MODEL: '1',
  });
  const fed = { ...env, MODEL_SOURCES: 'mirror', MODEL_MIRRORS: feeder.url };
  const started = await Promise.all(
    Array.from({ length: REPLICAS }, (_, index) =>
      boot({ ...fed, MODEL_CACHE_DIR: `${folder}/compared-${index}` }),
    ),
  );
  const allServeMs = Math.round(Math.max(...started.map(({ readyMs }) => readyMs)));
  say(`all four serve after ${allServeMs} ms`);
  await feeder.stop();
  const daemons = started.map(({ daemon }) => daemon);
  const proxy = await startProxy(
    folder,
    daemons.map(({ url }) => url),
  );
  const crowd = await Crowd.start({ own });
  const capacity = capacityOf(measured);
  const counters = async () => {
    const passes = await Promise.all(daemons.map(({ url }) => metricOf(url, PASSES)));
    // This process reads the log of the daemons.
    const cpu = { client: crowd.cpuMs + cpuMsOf(process.pid), proxy: cpuMsOf(proxy.pid) };
    return { ...cpu, passes: passes.reduce((sum, each) => sum + each, 0) };
  };
  const pids = daemons.flatMap(({ child }) => processesOf(child.pid));
  const runs: Run[] = [];
  for (const [load, { seed, base, burst }] of Object.entries(LOADS)) {
    const rates = { seed, base: base * capacity, burst: burst * capacity };
    const shape = { words: SIMULATED_WORDS };
    const warm = arrivalsOf({ ...rates, seed: seed + 100 }, WARM_SECONDS);
    await crowd.do('openLoop', proxy.url, warm, WARM_SECONDS, shape);
    const before = await counters();
    const others = new Others(() => [process.pid, crowd.pid, proxy.pid, ...pids]);
    const { accepted, refused, odd, sent, late } = await crowd.do(
      'openLoop',
      proxy.url,
      arrivalsOf(rates),
      SECONDS,
      shape,
    );
    const othersMs = others.end();
    const after = await counters();
    if (odd.length > 0) throw new Error(`${odd.length} requests failed: ${odd[0]}`);
    runs.push({
      load,
      ...rates,
      othersMs,
      clientMs: (after.client - before.client) / sent,
      proxyMs: (after.proxy - before.proxy) / sent,
      lateP99Ms: quantile(late, 0.99),
      real: resultsOf(accepted, refused.length, after.passes - before.passes),
    });
    say(JSON.stringify(runs.at(-1)));
  }
  await Promise.all([proxy.stop(), ...daemons.map((daemon) => daemon.stop())]);
  const { gatheredTexts, gatherMs } = TURN;
  return { allServeMs, gathering: { gatheredTexts, gatherMs }, runs };
}

/** Requests a second that this machine can do, client and proxy included, when passes are shared as in a busy loop. */
function capacityOf({ loops, proxyMs }: Measured): number {
  const busy = loops
    .filter(({ words, batch }) => words === SIMULATED_WORDS && batch === 1)
    .toSorted((a, b) => b.clients - a.clients)[0];
  if (!busy) throw new Error('no loop was measured');
  const ms = (busy.httpMs + busy.workerMs + busy.clientMs) / busy.requests + proxyMs;
  return (availableParallelism() * SECOND) / ms;
}

/** Costs of replicas where each pass, message and boot takes `sharing` times what it takes on a core of its own. */
export function costsAt(measured: Measured, sharing: number): Costs {
  const alone = costsOf(measured, measured.overload.refusalMs);
  return { ...alone, messageMs: alone.messageMs * sharing, passMs: alone.passMs * sharing };
}

/**
 * How much more work costs of replicas that share caches with others: fitted to the median of the first load; nothing else of
 * what the four did is used.
 */
export function sharingOf(measured: Measured, [first]: readonly Run[], limits: Limits): number {
  let [low, high] = [1, MAX_SHARING];
  for (let step = 0; first && step < FIT_STEPS; step += 1) {
    const middle = (low + high) / 2;
    if (simulateRun(first, costsAt(measured, middle), limits).p50Ms < first.real.p50Ms) low = middle;
    else high = middle;
  }
  return low;
}

/** Simulates a load on four daemons that share the cores with proxy and client. */
export function simulateRun(run: Run, costs: Costs, limits: Limits): Results {
  const clock = new Clock();
  const machine = new Machine(clock, availableParallelism());
  const random = new Random(run.seed);
  const replicas = Array.from({ length: REPLICAS }, () => new Replica(machine, costs, limits, random));
  const client = new Process(machine, 0);
  const proxy = new Process(machine, 0);
  keepBusy(clock, machine, run);
  const accepted: number[] = [];
  let refused = 0;
  const send = (due: number): void =>
    client.run(run.clientMs / 2, () =>
      proxy.run(run.proxyMs / 2, () =>
        choose(replicas, 'least', random).receive((status) =>
          proxy.run(run.proxyMs / 2, () =>
            client.run(run.clientMs / 2, (now) => {
              if (status === 'accepted') accepted.push(now + costs.idleMs - due);
              else refused += 1;
            }),
          ),
        ),
      ),
    );
  const moments = arrivalsOf(run);
  const next = (index: number): void => {
    const due = moments[index];
    if (due === undefined) return;
    clock.at(Math.ceil(due / CLIENT_TURN_MS) * CLIENT_TURN_MS, () => {
      send(due);
      next(index + 1);
    });
  };
  next(0);
  clock.run();
  const passes = replicas.reduce((sum, replica) => sum + replica.passes, 0);
  return resultsOf(accepted, refused, passes);
}

/** Other programs of the machine, which use as much of it as they did, one after the other. */
function keepBusy(clock: Clock, machine: Machine, { othersMs }: Run): void {
  const programs = Array.from({ length: availableParallelism() }, () => new Process(machine, 0));
  for (const [interval, ms] of othersMs.entries()) {
    const pieces = Math.round(ms / OTHERS_MS);
    for (let piece = 0; piece < pieces; piece += 1) {
      const at = (interval + piece / pieces) * OTHERS_EVERY_MS;
      clock.at(at, () => programs[piece % programs.length]?.run(OTHERS_MS, () => undefined));
    }
  }
}

/** Simulates the boot of the four daemons: their downloads share the feeder, their work the cores. */
export function simulateBoots(
  { boots, feeder }: Measured,
  sharing: number,
  cores = availableParallelism(),
): number {
  const fed = boots.filter(({ from }) => from === 'feeder');
  const cpuMs = mean(fed.map((each) => each.cpuMs));
  return timeUntilAllServe({
    replicas: REPLICAS,
    bytes: fed[0]?.bytes ?? 0,
    feederPerSecond: feeder.bytesPerSecond,
    replicaPerSecond: feeder.bytesPerSecond,
    bootMs: (REPLICAS * cpuMs * sharing) / cores,
  });
}

/** How far a simulated load is off, as shares of the real one; refusals in percent of what was sent. */
export function errorsOf(simulated: Results, { real }: Run) {
  const off = (key: 'throughput' | 'p50Ms' | 'p99Ms'): number => simulated[key] / real[key] - 1;
  return {
    throughput: off('throughput'),
    p50: off('p50Ms'),
    p99: off('p99Ms'),
    refusedPoints: 100 * (simulated.refused / simulated.sent - real.refused / real.sent),
  };
}

/** Whether a simulated load is within {@link BOUNDS}. */
export function isWithinBounds({
  throughput,
  p50,
  p99,
  refusedPoints,
}: ReturnType<typeof errorsOf>): boolean {
  return (
    Math.abs(throughput) <= BOUNDS.throughput &&
    Math.abs(p50) <= BOUNDS.p50 &&
    Math.abs(p99) <= BOUNDS.p99 &&
    Math.abs(refusedPoints) <= BOUNDS.refusedPoints
  );
}

function resultsOf(accepted: readonly number[], refused: number, passes: number): Results {
  return {
    sent: accepted.length + refused,
    refused,
    throughput: accepted.length / SECONDS,
    p50Ms: quantile(accepted, 0.5),
    p99Ms: quantile(accepted, 0.99),
    textsPerPass: accepted.length / passes,
  };
}

/** Cores that other programs left to a load, on average. */
export function coresOf({ othersMs }: Run): number {
  return availableParallelism() - mean(othersMs) / OTHERS_EVERY_MS;
}

/** Reads again and again what other programs than these use. */
class Others {
  readonly #pids: () => readonly number[];
  readonly #timer: NodeJS.Timeout;
  readonly #used: number[] = [];
  #before: number;

  constructor(pids: () => readonly number[]) {
    this.#pids = pids;
    this.#before = this.#now();
    this.#timer = setInterval(() => {
      const now = this.#now();
      this.#used.push(Math.max(0, Math.round(now - this.#before)));
      this.#before = now;
    }, OTHERS_EVERY_MS);
  }

  end(): readonly number[] {
    clearInterval(this.#timer);
    return this.#used;
  }

  #now(): number {
    return machineBusyMs() - this.#pids().reduce((sum, pid) => sum + exactCpuMsOf(pid), 0);
  }
}

/** CPU time that all programs on this machine have used, in milliseconds. */
function machineBusyMs(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = (
    /^cpu +(.*)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? ''
  )
    .split(' ')
    .map(Number);
  return 10 * (user + nice + system + irq + softirq + steal);
}
