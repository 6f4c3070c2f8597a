import { cp, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { commandLine } from '../scripts/command-line.js';
import { eventually } from '../test/support/eventually.js';
import { oneByOne } from '../test/support/load.js';
import { Origin } from '../test/support/origin.js';
import { median } from '../test/support/stats.js';
import { tarOf } from '../test/support/tar.js';
import { type Checkout, start, startTimed } from './measure.js';

const HELP = `The four ways to deploy the model, side by side, as real processes against a local server of a given rate:
\`npm run bench:options [-- HUB_MBIT CDN_MBIT]\`. Without numbers: the 25 MB in 30 s (7.5 s for a CDN) that deployment
documents assume, then without a limit.`;
const { words } = commandLine(HELP, { words: true });

/** List prices in US dollars per GB, and how often a service starts in a month. Change them to yours. */
const PRICES = { volumeGbMonth: 0.15, cdnEgressGb: 0.085, cdnStorageGbMonth: 0.023, startsPerMonth: 100 };
const LATENCY_TEXTS = 100;
const QUICK_STARTS = 3;
const READY_WAIT_MS = 180_000;
const HERE: Checkout = { name: 'this', folder: process.cwd() };

interface Option {
  readonly name: string;
  readonly origin: Origin;
  readonly settings: Readonly<Record<string, string>>;
  /** Whether the folder outlives a container. */
  readonly isPersistent: boolean;
  /** A folder that is in the image. */
  readonly image?: string;
  readonly costOf: (gbPerStart: number, gbOnDisk: number) => number;
}

/** Measurements of one option. Times are milliseconds. */
interface Row {
  readonly firstMs: number;
  readonly nextMs: number;
  readonly firstRequestMs: number;
  readonly medianMs: number;
  readonly deployBytes: number;
  readonly restartBytes: number;
  readonly crashBytes: number;
  readonly diskBytes: number;
  readonly isOffline: boolean;
  readonly cost: number;
}

const manifest = JSON.parse(await readFile('model/manifest.json', 'utf8')) as {
  readonly repo: string;
  readonly revision: string;
  readonly files: readonly { readonly path: string; readonly size: number }[];
};
const contents = Object.fromEntries(
  await Promise.all(manifest.files.map(async ({ path }) => [path, await readFile(`model/${path}`)] as const)),
);
const archive = gzipSync(tarOf(contents));
const scratch = await mkdtemp(join(tmpdir(), 'ai-router-options-'));

try {
  const baked = join(scratch, 'baked');
  const { daemon } = await startTimed(HERE, { MODEL_CACHE_DIR: baked, MODEL_SOURCES: 'bundled' });
  await daemon.stop();
  const modelBytes = manifest.files.reduce((sum, { size }) => sum + size, 0);
  say(`${cpus()[0]?.model}, ${availableParallelism()} cores, Node ${process.version}`);
  say(`model ${megabytes(modelBytes)}, as .tar.gz ${megabytes(archive.length)}`);
  const [hub, cdn] = words.map((text) => (Number(text) * 1e6) / 8);
  if (hub) await compare('as given', hub, cdn ?? hub, baked);
  else {
    await compare('hub: 25 MB in 30 s; CDN: 25 MB in 7.5 s', 25e6 / 30, 25e6 / 7.5, baked);
    await compare('without a limit', undefined, undefined, baked);
  }
} finally {
  await rm(scratch, { recursive: true, force: true });
}

async function compare(
  name: string,
  hubRate: number | undefined,
  cdnRate: number | undefined,
  baked: string,
) {
  const hub = await Origin.start(hubRate === undefined ? {} : { bytesPerSecond: hubRate });
  const cdn = await Origin.start(cdnRate === undefined ? {} : { bytesPerSecond: cdnRate });
  try {
    for (const [path, bytes] of Object.entries(contents))
      hub.put(`/${manifest.repo}/resolve/${manifest.revision}/${path}`, bytes);
    cdn.put('/minilm.tar.gz', archive);
    const rows = new Map<string, Row>();
    for (const option of optionsOf(hub, cdn, baked)) rows.set(option.name, await measure(option));
    say(tableOf(name, rows));
  } finally {
    await Promise.all([hub.close(), cdn.close()]);
  }
}

function optionsOf(hub: Origin, cdn: Origin, baked: string): Option[] {
  const settings = { MODEL_SOURCES: 'hub', HF_ENDPOINT: hub.url };
  const fromCdn = { MODEL_SOURCES: 'mirror', MODEL_MIRRORS: `${cdn.url}/minilm.tar.gz` };
  const free = (): number => 0;
  const { volumeGbMonth, startsPerMonth, cdnEgressGb, cdnStorageGbMonth } = PRICES;
  return [
    { name: '1 baked', origin: hub, settings, isPersistent: false, image: baked, costOf: free },
    { name: '2 on startup', origin: hub, settings, isPersistent: false, costOf: free },
    {
      name: '3 volume',
      origin: hub,
      settings,
      isPersistent: true,
      costOf: (_, disk) => disk * volumeGbMonth,
    },
    {
      name: '4 own CDN',
      origin: cdn,
      settings: fromCdn,
      isPersistent: false,
      costOf: (gb) => gb * startsPerMonth * cdnEgressGb + gb * cdnStorageGbMonth,
    },
  ];
}

/** Deploys, classifies, restarts, crashes in the middle of a download, and starts without a network. */
async function measure(option: Option): Promise<Row> {
  const { origin, settings } = option;
  const boot = (folder: string) =>
    startTimed(HERE, { HF_HUB_OFFLINE: 'false', ...settings, MODEL_CACHE_DIR: folder }, READY_WAIT_MS);
  let folder = await container(option);
  const before = origin.bytesSent;
  const first = await boot(folder);
  const deployBytes = origin.bytesSent - before;
  const [firstRequestMs = Number.NaN] = (await oneByOne(first.daemon.url, 1, {})).accepted;
  const { accepted } = await oneByOne(first.daemon.url, LATENCY_TEXTS, {});
  await first.daemon.stop('SIGKILL');

  const sentFirst = origin.bytesSent;
  const nextMs: number[] = [];
  // A start without a download differs by what else the machine does: several of them are measured.
  while (nextMs.length === 0 || (nextMs.length < QUICK_STARTS && origin.bytesSent === sentFirst)) {
    folder = await container(option, folder);
    const next = await boot(folder);
    nextMs.push(next.readyMs);
    await next.daemon.stop('SIGKILL');
  }
  const restartBytes = origin.bytesSent - sentFirst;
  const diskBytes = await bytesIn(folder);
  const crashBytes = deployBytes === 0 ? 0 : await crash(option, boot, deployBytes);
  origin.faultAlways('*', { kind: 'cut', reset: true });
  const offline = await start(HERE, {
    HF_HUB_OFFLINE: 'false',
    ...settings,
    MODEL_CACHE_DIR: await container(option, folder),
  });
  const isOffline = await offline.ready(10_000).then(
    () => true,
    () => false,
  );
  await offline.stop('SIGKILL');
  origin.heal();
  return {
    firstMs: first.readyMs,
    nextMs: median(nextMs),
    firstRequestMs,
    medianMs: median(accepted),
    deployBytes,
    restartBytes,
    crashBytes,
    diskBytes,
    isOffline,
    cost: option.costOf(restartBytes / 1e9, diskBytes / 1e9),
  };
}

/** Returns the folder of the next container: what is left of the last one's, or what the image holds. */
async function container({ isPersistent, image }: Option, last?: string): Promise<string> {
  if (isPersistent && last !== undefined) return last;
  const folder = await mkdtemp(join(scratch, 'volume-'));
  if (image !== undefined) await cp(image, folder, { recursive: true });
  return folder;
}

/** SIGKILL in the middle of the first download, then a start to ready: bytes that the server sent in all. */
async function crash(
  option: Option,
  boot: (folder: string) => ReturnType<typeof startTimed>,
  deployBytes: number,
) {
  const { origin, settings } = option;
  const before = origin.bytesSent;
  const folder = await container(option);
  const doomed = await start(HERE, { HF_HUB_OFFLINE: 'false', ...settings, MODEL_CACHE_DIR: folder });
  const half = (): void => {
    if (origin.bytesSent - before < deployBytes / 2) throw new Error('not half of it was sent');
  };
  await eventually(half, { within: READY_WAIT_MS, every: 1 });
  await doomed.stop('SIGKILL');
  const { daemon } = await boot(await container(option, folder));
  await daemon.stop('SIGKILL');
  return origin.bytesSent - before;
}

async function bytesIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size;
  return bytes;
}

/** Returns the measurements as a Markdown table. */
function tableOf(name: string, rows: ReadonlyMap<string, Row>): string {
  const { startsPerMonth, volumeGbMonth, cdnEgressGb, cdnStorageGbMonth } = PRICES;
  const lines: (readonly [string, (row: Row) => string])[] = [
    ['first start to ready', ({ firstMs }) => `${(firstMs / 1_000).toFixed(2)} s`],
    ['next start to ready', ({ nextMs }) => `${(nextMs / 1_000).toFixed(2)} s`],
    ['first request', ({ firstRequestMs }) => `${firstRequestMs.toFixed(1)} ms`],
    ['a classification (median)', ({ medianMs }) => `${medianMs.toFixed(1)} ms`],
    ['network, deploy', ({ deployBytes }) => megabytes(deployBytes)],
    ['network, restart', ({ restartBytes }) => megabytes(restartBytes)],
    ['network, crash at half + start', ({ crashBytes }) => megabytes(crashBytes)],
    ['on disk (baked: in the image)', ({ diskBytes }) => megabytes(diskBytes)],
    ['next start works offline', ({ isOffline }) => (isOffline ? 'yes' : 'no')],
    [`cost a month, ${startsPerMonth} starts`, ({ cost }) => `$${cost.toFixed(3)}`],
  ];
  return [
    `\n### ${name}\n`,
    `| | ${[...rows.keys()].join(' | ')} |`,
    `|---|${[...rows].map(() => '---:|').join('')}`,
    ...lines.map(([label, cell]) => `| ${label} | ${[...rows.values()].map(cell).join(' | ')} |`),
    `\nPrices assumed: volume $${volumeGbMonth}/GB-month, CDN $${cdnEgressGb}/GB out and ` +
      `$${cdnStorageGbMonth}/GB-month; image storage and the public hub are free.`,
  ].join('\n');
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
