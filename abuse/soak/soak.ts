import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from '../../bench/samples.js';
import { goldenAnswers, TEXTS } from '../../campaign/load.js';
import { pidOf } from '../../campaign/sandbox.js';
import { loadManifest } from '../../src/cache/manifest.js';
import { builtInManifest, PACKAGE_ROOT } from '../../src/config/program-files.js';
import { spawnDaemon, type TestDaemon } from '../../test/support/daemon-process.js';
import { Origin } from '../../test/support/origin.js';
import { childrenOf, sizeOf } from '../process-size.js';
import type { RudeLimits } from '../rude-clients.js';
import { disastersFor, strikeAll } from './disasters.js';
import { type GoldenBySet, MixedTraffic } from './traffic.js';

/** The daemon at one moment. */
export interface Sample {
  /** Seconds since the start. */
  readonly at: number;
  readonly p50: number;
  readonly p99: number;
  /** Resident, in MB. */
  readonly daemonMb: number;
  readonly workersMb: number;
  readonly descriptors: number;
}

/** What came of a soak. */
export interface SoakResult {
  readonly minutes: number;
  readonly samples: readonly Sample[];
  /** The figures, for people. */
  readonly lines: readonly string[];
  readonly shortfalls: readonly string[];
}

const LIMITS: RudeLimits = { headersMs: 5_000, bodyMs: 3_000, idleMs: 5_000, sendMs: 3_000 };
const SAMPLE_MS = 1_000;
/** Growth from the second third to the last one. */
const MAX_GROWTH = 0.05;
/** Words of the second set of routes that the first one has not. */
const EDIT = { from: 'queue: billing', to: 'queue: billing-2' } as const;

/** Runs a daemon for some minutes and lets everything happen to it. */
export async function soak(minutes: number, say: (line: string) => void): Promise<SoakResult> {
  const folder = await mkdtemp(join(tmpdir(), 'ai-router-soak-'));
  const origin = await Origin.start();
  const daemons: TestDaemon[] = [];
  try {
    const manifest = await loadManifest(builtInManifest('q8'));
    for (const { path } of manifest.files) {
      const bytes = await readFile(join(PACKAGE_ROOT, 'model', path));
      origin.put(`/${manifest.repo}/resolve/${manifest.revision}/${path}`, bytes);
    }
    const first = await readFile(join(PACKAGE_ROOT, 'routes/default.yaml'), 'utf8');
    const routes = [first, first.replace(EDIT.from, EDIT.to)];
    const routesFile = join(folder, 'routes.yaml');
    const volume = join(folder, 'volume');
    const env = {
      MODEL_CACHE_DIR: volume,
      MODEL_SOURCES: 'hub',
      HF_ENDPOINT: origin.url,
      ROUTES_FILE: routesFile,
      INFERENCE_WORKERS: String(availableParallelism()),
      SERVE_MODEL: 'true',
      // Full before the warm-up ends: of what grows then, this is none.
      EMBEDDING_CACHE_BYTES: String(2 ** 21),
      HEADERS_TIMEOUT_MS: String(LIMITS.headersMs),
      BODY_TIMEOUT_MS: String(LIMITS.bodyMs),
      KEEP_ALIVE_MS: String(LIMITS.idleMs),
      SEND_TIMEOUT_MS: String(LIMITS.sendMs),
    };
    const start = async (): Promise<TestDaemon> => {
      const daemon = await spawnDaemon(env, {
        onSpawn: (child) => process.on('exit', () => child.kill('SIGKILL')),
      });
      daemons.push(daemon);
      await daemon.ready(120_000);
      return daemon;
    };
    const golden = await goldenOf(routes, routesFile, start);
    await writeFile(routesFile, first);
    const daemon = await start();
    say(`${minutes} minutes from now`);
    return await observe(minutes, { daemon, volume, origin, routesFile, routes }, golden, say);
  } finally {
    for (const daemon of daemons) daemon.child.kill('SIGKILL');
    await origin.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Asks an undisturbed daemon for the answers under each set of routes. */
async function goldenOf(
  routes: readonly string[],
  routesFile: string,
  start: () => Promise<TestDaemon>,
): Promise<GoldenBySet> {
  const golden = new Map<string, ReadonlyMap<string, unknown>>();
  for (const set of routes) {
    await writeFile(routesFile, set);
    const daemon = await start();
    const answers = await goldenAnswers(daemon.url);
    const digest = answers.map(({ answer }) => (answer as { routes_digest: string }).routes_digest)[0] ?? '';
    golden.set(digest, new Map(answers.map(({ text, answer }) => [text, answer])));
    await daemon.stop();
  }
  if (golden.size !== routes.length) throw new Error('the edit of the routes changes nothing');
  return golden;
}

async function observe(
  minutes: number,
  scene: Parameters<typeof strikeAll>[1],
  golden: GoldenBySet,
  say: (line: string) => void,
): Promise<SoakResult> {
  const { daemon } = scene;
  const pid = pidOf(daemon);
  const stop = new AbortController();
  const traffic = new MixedTraffic(daemon.url, golden, TEXTS, LIMITS);
  const struck = strikeAll(disastersFor(minutes), scene, stop.signal);
  const samples: Sample[] = [];
  const started = performance.now();
  while (performance.now() - started < minutes * 60_000 && daemon.child.exitCode === null) {
    await sleep(SAMPLE_MS);
    samples.push(sampleOf(pid, (performance.now() - started) / 1_000, traffic.take()));
    if (samples.length % 60 === 0) say(`${samples.length / 60} min: ${JSON.stringify(samples.at(-1))}`);
  }
  const alive = daemon.child.exitCode === null;
  stop.abort();
  await traffic.stop();
  const disasters = await struck;
  const { counts } = traffic;
  const memory = growthOf(samples, ({ daemonMb }) => daemonMb);
  const descriptors = growthOf(samples, (sample) => sample.descriptors);
  const shortfalls = [
    ...(alive ? [] : [`the daemon ended with ${daemon.child.exitCode}`]),
    ...(counts.wrong > 0 ? [`${counts.wrong} wrong answers`] : []),
    ...(counts.failed.length > 0
      ? [`${counts.failed.length} failed that may not: ${[...new Set(counts.failed)].slice(0, 5).join('; ')}`]
      : []),
    ...(memory > MAX_GROWTH ? [`memory grew by ${(100 * memory).toFixed(1)} %`] : []),
    ...(descriptors > MAX_GROWTH ? [`descriptors grew by ${(100 * descriptors).toFixed(1)} %`] : []),
  ];
  const list = (counted: ReadonlyMap<string, number>): string =>
    [...counted].map(([what, count]) => `${count} × ${what}`).join(', ') || 'none';
  const lines = [
    `${minutes} minutes; ${counts.sent} requests, ${counts.answered} texts compared, ${counts.wrong} wrong`,
    `disasters: ${list(disasters)}; ${counts.aborted} clients went away`,
    `failures that are named: ${list(counts.named)}; others: ${counts.failed.length}`,
    `p50 ${quantile(samples.map(({ p50 }) => p50).filter(Number.isFinite), 0.5).toFixed(1)} ms, p99 ${quantile(samples.map(({ p99 }) => p99).filter(Number.isFinite), 0.5).toFixed(1)} ms (medians of the seconds)`,
    `memory ${(100 * memory).toFixed(1)} %, descriptors ${(100 * descriptors).toFixed(1)} % (last third against the second)`,
  ];
  return { minutes, samples, lines, shortfalls };
}

function sampleOf(pid: number, at: number, latencies: readonly number[]): Sample {
  const { rssBytes, descriptors } = sizeOf(pid);
  const workers = childrenOf(pid).reduce((sum, child) => {
    try {
      return sum + sizeOf(child).rssBytes;
    } catch {
      // It was killed between two looks.
      return sum;
    }
  }, 0);
  return {
    at,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    daemonMb: rssBytes / 2 ** 20,
    workersMb: workers / 2 ** 20,
    descriptors,
  };
}

/** By what share the mean of the last third is above that of the second. */
function growthOf(samples: readonly Sample[], of: (sample: Sample) => number): number {
  const third = Math.floor(samples.length / 3);
  const mean = (part: readonly Sample[]): number => part.reduce((sum, one) => sum + of(one), 0) / part.length;
  return mean(samples.slice(2 * third)) / mean(samples.slice(third, 2 * third)) - 1;
}
