/**
 * The four ways to deploy the model, side by side, as real processes against a local server of a given rate.
 * `npm run bench:options [-- HUB_MBIT CDN_MBIT]`; without numbers: the 25 MB in 30 s (and 7.5 s for a CDN) that
 * deployment documents assume, then without any limit.
 */
import { cp, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { Origin } from '../test/support/origin.js';
import { tarOf } from '../test/support/tar.js';
import { command, deploy } from './deployment.js';
import { median, megabytes, PRICES, type Row, say, tableOf } from './options-table.js';

const LATENCY_TEXTS = 100;
const QUICK_STARTS = 3;
const READY_WAIT_MS = 180_000;
/** Of the download, when the process is killed. */
const CRASH_AT = 0.5;

interface Manifest {
  readonly repo: string;
  readonly revision: string;
  readonly files: readonly { readonly path: string; readonly size: number }[];
}

interface Rates {
  readonly name: string;
  /** Bytes per second. */
  readonly hub: number | undefined;
  readonly cdn: number | undefined;
}

interface Option {
  readonly name: string;
  readonly origin: Origin;
  readonly settings: Readonly<Record<string, string>>;
  /** Whether the folder outlives a container. */
  readonly persistent: boolean;
  /** What is in the folder of a new container. */
  readonly fill?: (folder: string) => Promise<void>;
  readonly costOf: (bytesPerStart: number, bytesOnDisk: number) => number;
}

const manifest = JSON.parse(await readFile('model/manifest.json', 'utf8')) as Manifest;
const modelBytes = manifest.files.reduce((sum, { size }) => sum + size, 0);
const contents = Object.fromEntries(
  await Promise.all(manifest.files.map(async ({ path }) => [path, await readFile(`model/${path}`)] as const)),
);
const archive = gzipSync(tarOf(contents));
const scratch = await mkdtemp(join(tmpdir(), 'ai-router-options-'));

try {
  const baked = join(scratch, 'baked');
  await command(['pull', '--routes', '--quiet', '--sources', 'bundled'], { MODEL_CACHE_DIR: baked });
  say(`${cpus()[0]?.model}, ${availableParallelism()} cores, Node ${process.version}`);
  say(`model ${megabytes(modelBytes)} MB, as .tar.gz ${megabytes(archive.length)} MB`);
  for (const rates of profiles()) await compare(rates, baked);
} finally {
  await rm(scratch, { recursive: true, force: true });
}

function profiles(): Rates[] {
  const [hub, cdn] = process.argv.slice(2).map((text) => (Number(text) * 1e6) / 8);
  if (hub) return [{ name: 'as given', hub, cdn: cdn ?? hub }];
  return [
    { name: 'hub: 25 MB in 30 s; CDN: 25 MB in 7.5 s', hub: 25e6 / 30, cdn: 25e6 / 7.5 },
    { name: 'without a limit', hub: undefined, cdn: undefined },
  ];
}

async function compare(rates: Rates, baked: string): Promise<void> {
  const hub = await Origin.start(rates.hub === undefined ? {} : { bytesPerSecond: rates.hub });
  const cdn = await Origin.start(rates.cdn === undefined ? {} : { bytesPerSecond: rates.cdn });
  try {
    for (const [path, bytes] of Object.entries(contents)) {
      hub.put(`/${manifest.repo}/resolve/${manifest.revision}/${path}`, bytes);
    }
    cdn.put('/minilm.tar.gz', archive);
    const rows = new Map<string, Row>();
    for (const option of optionsOf(hub, cdn, baked)) rows.set(option.name, await measure(option));
    say(tableOf(rates.name, rows));
  } finally {
    await Promise.all([hub.close(), cdn.close()]);
  }
}

function optionsOf(hub: Origin, cdn: Origin, baked: string): Option[] {
  const fromHub = { MODEL_SOURCES: 'hub', HF_ENDPOINT: hub.url };
  const gb = 1e9;
  return [
    {
      name: '1 baked',
      origin: hub,
      settings: fromHub,
      persistent: false,
      fill: (folder) => cp(baked, folder, { recursive: true }),
      costOf: () => 0,
    },
    { name: '2 on startup', origin: hub, settings: fromHub, persistent: false, costOf: () => 0 },
    {
      name: '3 volume',
      origin: hub,
      settings: fromHub,
      persistent: true,
      costOf: (_, disk) => (disk / gb) * PRICES.volumeGbMonth,
    },
    {
      name: '4 own CDN',
      origin: cdn,
      settings: { MODEL_SOURCES: 'mirror', MODEL_MIRRORS: `${cdn.url}/minilm.tar.gz` },
      persistent: false,
      costOf: (bytes) =>
        (bytes / gb) * PRICES.startsPerMonth * PRICES.cdnEgressGb + (bytes / gb) * PRICES.cdnStorageGbMonth,
    },
  ];
}

/** Deploy, classify, restart, crash in mid-download, start without network. */
async function measure(option: Option): Promise<Row> {
  const { origin, settings } = option;
  const env = (folder: string): Record<string, string> => ({ ...settings, MODEL_CACHE_DIR: folder });
  let folder = await container(option);

  const sentBefore = origin.bytesSent;
  const first = deploy(env(folder));
  const firstMs = (await first.ready(READY_WAIT_MS)) ?? Number.NaN;
  const deployBytes = origin.bytesSent - sentBefore;
  const firstRequestMs = await first.classify('my card was charged twice');
  const latencies: number[] = [];
  for (let n = 0; n < LATENCY_TEXTS; n += 1)
    latencies.push(await first.classify(`what about case ${n}, please?`));
  await first.kill();

  const sentFirst = origin.bytesSent;
  const nextMs: number[] = [];
  const loadMs: number[] = [];
  let restarts = 0;
  // A start without network differs by what else the machine does: several of them are taken.
  while (restarts === 0 || (restarts < QUICK_STARTS && origin.bytesSent === sentFirst)) {
    folder = await container(option, folder);
    const next = deploy(env(folder));
    nextMs.push((await next.ready(READY_WAIT_MS)) ?? Number.NaN);
    loadMs.push(await next.loadMs());
    await next.kill();
    restarts += 1;
  }
  const restartBytes = origin.bytesSent - sentFirst;
  const diskBytes = await bytesIn(folder);

  const crashBytes = deployBytes === 0 ? undefined : await crash(option, env, deployBytes);
  const offline = await startsOffline(option, env(await container(option, folder)));
  return {
    firstMs,
    nextMs: median(nextMs),
    loadMs: median(loadMs),
    firstRequestMs,
    medianMs: median(latencies),
    deployBytes,
    restartBytes,
    crashBytes,
    diskBytes,
    offline,
    cost: option.costOf(restartBytes, diskBytes),
  };
}

/** The folder of the next container: what is left of the last one's, or what the image holds. */
async function container(option: Option, last?: string): Promise<string> {
  if (option.persistent && last !== undefined) return last;
  const folder = await mkdtemp(join(scratch, 'volume-'));
  await option.fill?.(folder);
  return folder;
}

/** SIGKILL in the middle of the first download, then a start to ready: what the server sent in all. */
async function crash(
  option: Option,
  env: (folder: string) => Record<string, string>,
  deployBytes: number,
): Promise<number> {
  const { origin } = option;
  const before = origin.bytesSent;
  const folder = await container(option);
  const doomed = deploy(env(folder));
  while (origin.bytesSent - before < deployBytes * CRASH_AT) await sleep(1);
  await doomed.kill();
  const survivor = deploy(env(await container(option, folder)));
  await survivor.ready(READY_WAIT_MS);
  await survivor.kill();
  return origin.bytesSent - before;
}

async function startsOffline({ origin }: Option, env: Record<string, string>): Promise<boolean> {
  origin.faultAlways('*', { kind: 'cut', reset: true });
  const daemon = deploy({ ...env, LOG_LEVEL: 'info' });
  const ready = await daemon.ready(READY_WAIT_MS);
  await daemon.kill();
  origin.heal();
  return ready !== undefined;
}

async function bytesIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return bytes;
}
