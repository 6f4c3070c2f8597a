import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { availableParallelism, cpus, release } from 'node:os';
import type { CacheStatus } from '../../src/api/cache.js';
import { workOf } from '../../src/inference/queue.js';
import { Crowd } from '../../test/resilience/crowd.js';
import { spawnDaemon, type TestDaemon } from '../../test/support/daemon-process.js';
import { eventually } from '../../test/support/eventually.js';
import { listen } from '../../test/support/listen.js';
import { textOfWords } from '../../test/support/load.js';
import { metricOf } from '../../test/support/metric.js';
import { childrenOf, cpuMsOf, exactCpuMsOf, memoryOf } from '../../test/support/processes.js';
import { mean, median, quantile } from '../../test/support/stats.js';
import { own, writeRoutes } from '../measure.js';
import type { Costs } from './simulation.js';

/** Where the measured daemon runs, and where its clients do. */
const DAEMON_CORE = '0';
const CLIENT_CORE = '1';
const ALL_CORES = `0-${availableParallelism() - 1}`;
const SECONDS = 3;
const WARM_SECONDS = 1.5;
/** Words of the texts that the simulation sends. */
export const SIMULATED_WORDS = 8;
const BATCH = 64;
const MAX_TOKENS = 256;
/** Numbers of texts whose mean work is that of a text. */
const WORK_NUMBERS = Array.from({ length: 100 }, (_, index) => 1_000 + index);
const FEEDER_STREAMS = 4;
const SPREAD = 100;
const SPREAD_REQUESTS = 600;
/** More than half a second of texts of one replica. */
const OVERLOAD_CLIENTS = 600;

/** One closed loop against a daemon that has one core for itself. */
interface Loop {
  readonly words: number;
  /** Texts in a request. */
  readonly batch: number;
  readonly clients: number;
  readonly textsPerSecond: number;
  readonly requests: number;
  readonly passes: number;
  readonly tokensPerText: number;
  readonly httpMs: number;
  readonly workerMs: number;
  readonly clientMs: number;
  readonly p50Ms: number;
}

/** One boot on one core. */
interface Boot {
  readonly from: 'image' | 'feeder';
  readonly readyMs: number;
  readonly cpuMs: number;
  readonly bytes: number;
}

/** Measurements of one replica, and the machine. */
export interface Measured {
  readonly date: string;
  readonly commit: string;
  readonly machine: string;
  readonly loops: readonly Loop[];
  /** CPU time of lone requests in milliseconds, of both processes, at {@link SPREAD} quantiles. */
  readonly spreadMs: { readonly http: readonly number[]; readonly worker: readonly number[] };
  /** Sends far more than one replica can do. */
  readonly overload: { readonly accepted: number; readonly refused: number; readonly refusalMs: number };
  readonly proxyMs: number;
  readonly memoryMb: { readonly afterBoot: number; readonly afterLoad: number };
  readonly boots: readonly Boot[];
  readonly feeder: { readonly bytesPerSecond: number; readonly cpuMsPerMb: number };
}

/** Settings of every daemon here; its limits are the defaults. */
export const SETTINGS = { INFERENCE_WORKERS: '1', CLASSIFY_METHOD: 'nearest', EMBEDDING_CACHE_BYTES: '0' };

export const processesOf = (pid = 0): number[] => [pid, ...childrenOf(pid)];
const cpuOf = (pids: readonly number[]): number => pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0);

/** Starts a daemon, on one core if one is given, and waits until it serves. */
export async function boot(
  env: Readonly<Record<string, string>>,
  core?: string,
): Promise<{ readonly daemon: TestDaemon; readonly readyMs: number }> {
  const began = performance.now();
  const pinned = core === undefined ? [] : ['taskset', '--cpu-list', core];
  const daemon = await spawnDaemon(
    { HF_HUB_OFFLINE: '1', LOG_FORMAT: 'json', ...SETTINGS, ...env },
    { command: [...pinned, process.execPath, 'dist/main.js', 'serve'], onSpawn: own },
  );
  await eventually(
    async () => {
      const { status } = await fetch(`${daemon.url}/readyz`);
      if (status !== 200) throw new Error(`/readyz says ${status}`);
    },
    { within: 120_000, every: 10 },
  );
  return { daemon, readyMs: performance.now() - began };
}

/** Measures one replica on one core. */
export async function measure(folder: string, say: (line: string) => void): Promise<Measured> {
  const env = { ROUTES_FILE: await writeRoutes(folder) };
  const boots: Boot[] = [];
  const started = async (from: Boot['from'], more: Record<string, string>): Promise<TestDaemon> => {
    const { daemon, readyMs } = await boot({ ...env, ...more }, DAEMON_CORE);
    const { counters } = (await daemon.get<CacheStatus>('/cache/status')).body;
    boots.push({
      from,
      readyMs: Math.round(readyMs),
      cpuMs: cpuOf(processesOf(daemon.child.pid)),
      // The counter counts what is copied from the image, too.
      bytes: from === 'image' ? 0 : counters.downloaded_bytes,
    });
    return daemon;
  };
  const baked = await started('image', { MODEL_CACHE_DIR: `${folder}/baked`, MODEL_SOURCES: 'bundled' });
  const feeding = { MODEL_CACHE_DIR: `${folder}/feeder`, MODEL_SOURCES: 'bundled', SERVE_MODEL: '1' };
  const feeder = await started('image', feeding);
  const fed = { MODEL_SOURCES: 'mirror', MODEL_MIRRORS: feeder.url };
  for (const name of ['a', 'b'])
    await (await started('feeder', { ...fed, MODEL_CACHE_DIR: `${folder}/${name}` })).stop();
  say(`boots: ${JSON.stringify(boots)}`);

  runOn(CLIENT_CORE);
  const crowd = await Crowd.start({ own });
  const feederRate = await measureFeeder(feeder);
  await feeder.stop();
  const pids = processesOf(baked.child.pid);
  const afterBoot = Math.round(memoryOf(pids));

  const spreadMs = await measureSpread(baked);
  const loops: Loop[] = [];
  for (const [words, batch, clients] of [
    [8, 1, 1],
    [8, 1, 2],
    [8, 1, 8],
    [8, 1, 32],
    [8, BATCH, 1],
    [40, 1, 1],
    [40, 1, 16],
    [40, BATCH, 1],
    [160, 1, 1],
    [160, 1, 8],
  ] as const) {
    loops.push(await measureLoop(baked, crowd, words, batch, clients));
    say(JSON.stringify(loops.at(-1)));
  }
  const afterLoad = Math.round(memoryOf(pids));
  const overload = await measureOverload(baked, crowd, costsOf({ loops, spreadMs }, 0));
  const proxy = await startProxy(folder, [baked.url]);
  const before = cpuMsOf(proxy.pid);
  const { accepted } = await crowd.do('closedLoop', proxy.url, SECONDS, { clients: 16, shape: { words: 8 } });
  const proxyMs = (cpuMsOf(proxy.pid) - before) / accepted.length;
  await proxy.stop();
  runOn(ALL_CORES);
  await baked.stop();
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim(),
    machine: `${cpus()[0]?.model.trim()}, ${availableParallelism()} cores, Linux ${release()}, Node ${process.version}`,
    loops,
    spreadMs,
    overload,
    proxyMs,
    memoryMb: { afterBoot, afterLoad },
    boots,
    feeder: feederRate,
  };
}

/** Binds this process, and what it starts from now on, to cores. */
function runOn(cores: string): void {
  execFileSync('taskset', ['--all-tasks', '--pid', '--cpu-list', cores, String(process.pid)]);
}

async function measureLoop(
  daemon: TestDaemon,
  crowd: Crowd,
  words: number,
  batch: number,
  clients: number,
): Promise<Loop> {
  const [http = 0, ...workers] = processesOf(daemon.child.pid);
  const counters = async () => {
    const metrics = ['passes', 'embedded', 'tokens'].map((name) =>
      metricOf(daemon.url, `ai_router_inference_${name}_total`),
    );
    const [passes = 0, texts = 0, tokens = 0] = await Promise.all(metrics);
    return { passes, texts, tokens, http: cpuMsOf(http), worker: cpuOf(workers), client: crowd.cpuMs };
  };
  const shape =
    batch === 1 ? { words } : { words, batch: { path: '/classify/batch', field: 'texts', size: batch } };
  await crowd.do('closedLoop', daemon.url, WARM_SECONDS, { clients, shape });
  const before = await counters();
  const { accepted, odd, refused, perSecond } = await crowd.do('closedLoop', daemon.url, SECONDS, {
    clients,
    shape,
  });
  const after = await counters();
  if (odd.length + refused.length > 0) throw new Error(`${refused.length} refused, ${odd[0] ?? ''}`);
  const texts = after.texts - before.texts;
  return {
    words,
    batch,
    clients,
    textsPerSecond: perSecond * batch,
    requests: accepted.length,
    passes: after.passes - before.passes,
    tokensPerText: (after.tokens - before.tokens) / texts,
    httpMs: after.http - before.http,
    workerMs: after.worker - before.worker,
    clientMs: after.client - before.client,
    p50Ms: median(accepted),
  };
}

/** CPU time of one request after the other, which no other program lengthens. */
async function measureSpread(daemon: TestDaemon): Promise<Measured['spreadMs']> {
  const [http = 0, ...workers] = processesOf(daemon.child.pid);
  const used = () => ({ http: exactCpuMsOf(http), worker: exactCpuMsOf(workers[0] ?? 0) });
  const times: { http: number; worker: number }[] = [];
  let before = used();
  while (times.length < SPREAD_REQUESTS) {
    await daemon.post('/classify', { text: textOfWords(SIMULATED_WORDS) });
    const after = used();
    times.push({ http: after.http - before.http, worker: after.worker - before.worker });
    before = after;
  }
  const warm = times.slice(SPREAD_REQUESTS / 10);
  const quantiles = (of: readonly number[]): number[] =>
    Array.from({ length: SPREAD }, (_, index) => quantile(of, (index + 0.5) / SPREAD));
  return {
    http: quantiles(warm.map((each) => each.http)),
    worker: quantiles(warm.map((each) => each.worker)),
  };
}

/** CPU time that a refusal takes of the HTTP process: what it used in overload beyond its work for accepted requests. */
async function measureOverload(
  daemon: TestDaemon,
  crowd: Crowd,
  costs: Costs,
): Promise<Measured['overload']> {
  const shape = { words: SIMULATED_WORDS };
  const counters = async () => ({
    http: cpuMsOf(daemon.child.pid ?? 0),
    passes: await metricOf(daemon.url, 'ai_router_inference_passes_total'),
  });
  const before = await counters();
  const load = await crowd.do('closedLoop', daemon.url, SECONDS, {
    clients: OVERLOAD_CLIENTS,
    shape,
    restMs: 100,
  });
  const after = await counters();
  const accepted = load.accepted.length;
  const refused = load.refused.length;
  const useful = accepted * costs.requestMs + (after.passes - before.passes) * costs.messageMs;
  return {
    accepted,
    refused,
    refusalMs: Math.max(0, after.http - before.http - useful) / Math.max(1, refused),
  };
}

/** How fast a feeder serves its largest file to streams that read it again and again. */
async function measureFeeder(feeder: TestDaemon): Promise<Measured['feeder']> {
  const { body } = await feeder.get<{ siblings: { rfilename: string; size: number }[] }>(
    '/api/models/Xenova/all-MiniLM-L6-v2?blobs=true',
  );
  const largest = body.siblings.toSorted((a, b) => b.size - a.size)[0];
  if (!largest) throw new Error('the feeder serves no file');
  const url = `${feeder.url}/models/Xenova/all-MiniLM-L6-v2/resolve/main/${largest.rfilename}`;
  const cpuBefore = cpuMsOf(feeder.child.pid ?? 0);
  const began = performance.now();
  let bytes = 0;
  const stream = async (): Promise<void> => {
    while (performance.now() - began < SECONDS * 1_000) bytes += await download(url);
  };
  await Promise.all(Array.from({ length: FEEDER_STREAMS }, stream));
  const seconds = (performance.now() - began) / 1_000;
  const cpuMs = cpuMsOf(feeder.child.pid ?? 0) - cpuBefore;
  return { bytesPerSecond: Math.round(bytes / seconds), cpuMsPerMb: cpuMs / (bytes / 1e6) };
}

/** Downloads a file, and returns its size. */
function download(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (response) => {
      let bytes = 0;
      response.on('data', (part: Buffer) => {
        bytes += part.length;
      });
      response.once('end', () => resolve(bytes)).once('error', reject);
    }).once('error', reject);
  });
}

/** Fits the costs of requests of one text of {@link SIMULATED_WORDS} words: the least squares of its loops. */
export function costsOf({ loops, spreadMs }: Pick<Measured, 'loops' | 'spreadMs'>, refusalMs: number): Costs {
  const own = loops.filter(({ words, batch }) => words === SIMULATED_WORDS && batch === 1);
  const [requestMs, messageMs] = leastSquares(own.map((loop) => [loop.requests, loop.passes, loop.httpMs]));
  const [textMs, passMs] = leastSquares(own.map((loop) => [loop.requests, loop.passes, loop.workerMs]));
  const lone = own.find(({ clients }) => clients === 1);
  if (!lone) throw new Error('no loop of a single client');
  const cpuMs = requestMs + messageMs + textMs + passMs + lone.clientMs / lone.requests;
  const tokens = mean(own.map(({ tokensPerText }) => tokensPerText));
  return {
    requestMs,
    messageMs,
    passMs,
    textMs,
    refusalMs,
    idleMs: Math.max(0, lone.p50Ms - cpuMs),
    tokens,
    spread: { http: factorsOf(spreadMs.http), worker: factorsOf(spreadMs.worker) },
    work: mean(WORK_NUMBERS.map((number) => workOf(textOfWords(SIMULATED_WORDS, number), MAX_TOKENS))),
  };
}

function factorsOf(times: readonly number[]): number[] {
  return times.map((ms) => ms / mean(times));
}

/** Solves a·x + b·y = z for a and b ≥ 0 by least squares, each row divided by its x. */
function leastSquares(rows: readonly (readonly [number, number, number])[]): [number, number] {
  const relative = rows.map(([x, y, z]) => [y / x, z / x] as const);
  const count = relative.length;
  const meanY = relative.reduce((sum, [y]) => sum + y, 0) / count;
  const meanZ = relative.reduce((sum, [, z]) => sum + z, 0) / count;
  const spread = relative.reduce((sum, [y]) => sum + (y - meanY) ** 2, 0);
  const b = Math.max(0, relative.reduce((sum, [y, z]) => sum + (y - meanY) * (z - meanZ), 0) / spread);
  const a = meanZ - b * meanY;
  return a >= 0 ? [a, b] : [0, meanZ / meanY];
}

/** A proxy before daemons. */
export interface Proxy {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts HAProxy before daemons: the fewest open requests first, and no second attempt. */
export async function startProxy(folder: string, urls: readonly string[]): Promise<Proxy> {
  const reserved = createServer();
  await listen(reserved, '127.0.0.1');
  const { port } = reserved.address() as AddressInfo;
  reserved.close();
  const servers = urls.map((url, index) => `  server replica-${index} ${new URL(url).host}\n`).join('');
  const file = `${folder}/haproxy.cfg`;
  await writeFile(
    file,
    `global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  retries 0\nfrontend http\n  bind 127.0.0.1:${port}\n  default_backend replicas\nbackend replicas\n  balance leastconn\n${servers}`,
  );
  const child: ChildProcess = spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore' });
  own(child);
  const url = `http://127.0.0.1:${port}`;
  await eventually(async () => {
    const { status } = await fetch(`${url}/readyz`);
    if (status !== 200) throw new Error(`the proxy says ${status}`);
  });
  return {
    url,
    pid: child.pid ?? 0,
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}
