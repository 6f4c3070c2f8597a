import { spawn } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { goldenAnswers } from '../../campaign/load.js';
import type { Row } from '../../campaign/row.js';
import { kill, pidOf } from '../../campaign/sandbox.js';
import { check, type Trial } from '../../campaign/trial.js';
import { loadManifest } from '../../src/cache/manifest.js';
import { builtInManifest } from '../../src/config/program-files.js';
import type { TestDaemon } from '../../test/support/daemon-process.js';
import { MODEL_DIGEST } from '../pinned.js';
import { flipBit } from '../rot.js';
import { survey } from '../volume.js';
import { healthOf, statusOf, until, wholesome } from '../watch.js';

async function signals(trial: Trial): Promise<void> {
  const manifest = await loadManifest(builtInManifest('q8'));
  const harmless = async (volume: string): Promise<void> => {
    const { torn, strays } = await survey(volume, manifest.files);
    check(torn.length === 0, `torn: ${torn.join()}`);
    check(
      strays.every((path) => /\.part$/.test(path)),
      `left: ${strays.join()}`,
    );
  };
  const delays = trial.short ? [50, 400] : [0, 20, 50, 100, 150, 200, 300, 400, 500, 700, 900, 1_200, 1_600];
  for (const delay of delays) {
    await trial.attempt(`SIGTERM ${delay} ms after it listens on an empty volume`, async () => {
      const volume = join(await trial.sandbox.folder(), 'volume');
      const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume });
      await sleep(delay);
      await endsWell(trial, daemon);
      await harmless(volume);
    });
  }
  await trial.attempt('SIGTERM before it listens', async () => {
    const volume = join(await trial.sandbox.folder(), 'volume');
    const { child, ended } = trial.sandbox.start(['serve'], { MODEL_CACHE_DIR: volume, PORT: '0' });
    await sleep(trial.random.integer(80, 160));
    child.kill('SIGTERM');
    const { code, signal } = await ended;
    // Before Node.js itself runs our first line, the signal's default holds.
    check(code === 0 || signal === 'SIGTERM', `ended with ${code ?? signal}`);
    await harmless(volume);
  });
  await trial.attempt('SIGTERM in a download', async () => {
    const origin = await trial.sandbox.origin({ bytesPerSecond: 3_000_000 });
    for (const { path } of manifest.files)
      origin.put(
        `/${manifest.repo}/resolve/${manifest.revision}/${path}`,
        await readFile(join('model', path)),
      );
    const volume = join(await trial.sandbox.folder(), 'volume');
    const env = {
      MODEL_CACHE_DIR: volume,
      MODEL_SOURCES: 'hub',
      HF_ENDPOINT: origin.url,
      HF_HUB_OFFLINE: 'false',
    };
    const daemon = await trial.sandbox.daemon(env);
    await until('some bytes', 20_000, async () => (origin.bytesSent > 2_000_000 ? true : undefined));
    await endsWell(trial, daemon);
    await harmless(volume);
  });
  await trial.attempt('SIGTERM with requests under way', async () => {
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: await trial.sandbox.filledVolume() });
    await daemon.ready(60_000);
    // Some are refused a connection; nobody may be surprised by that before their turn comes.
    const asked = Promise.allSettled(
      Array.from({ length: 30 }, (_, index) => daemon.post('/classify', { text: `number ${index}` })),
    );
    await sleep(30);
    await endsWell(trial, daemon);
    const answers = await asked;
    const bad = answers.filter((one) => one.status === 'fulfilled' && ![200, 503].includes(one.value.status));
    check(bad.length === 0, `${bad.length} odd answers`);
    check(
      answers.some((one) => one.status === 'fulfilled' && one.value.status === 200),
      'none was finished',
    );
  });
  await trial.attempt('SIGTERM twice', async () => {
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: await trial.sandbox.filledVolume() });
    await daemon.ready(60_000);
    const slow = daemon
      .post('/classify/batch', { texts: Array(250).fill('some words '.repeat(120)) })
      .catch(() => undefined);
    await sleep(150);
    daemon.child.kill('SIGTERM');
    await sleep(100);
    const since = performance.now();
    const { code } = await daemon.stop();
    check(code === 143, `ended with ${code}`);
    check(performance.now() - since < 2_000, 'not at once');
    await slow;
  });
}

/** Ends with 0 within the drain time, and leaves no process of its own behind. */
async function endsWell(trial: Trial, daemon: TestDaemon): Promise<void> {
  const since = performance.now();
  const { code, signal } = await daemon.stop();
  const ms = performance.now() - since;
  check(code === 0, `ended with ${code ?? signal}: ${daemon.stderr()}`);
  check(ms < 10_000, `took ${Math.round(ms)} ms`);
  trial.healed(ms);
}

/** A preload that shifts the clock: at the start by `CLOCK_SHIFT_MS`, and by that much again at each SIGUSR2. */
const CLOCK = `
let shift = Number(process.env.CLOCK_SHIFT_MS ?? 0);
const Real = Date;
const now = () => Real.now() + shift;
globalThis.Date = class extends Real {
  constructor(...args) { args.length === 0 ? super(now()) : super(...args); }
  static now() { return now(); }
};
process.on('SIGUSR2', () => { shift += Number(process.env.CLOCK_JUMP_MS ?? 0); });
`;

const YEAR_MS = 365 * 86_400_000;

async function clock(trial: Trial): Promise<void> {
  const hook = await preload(trial, 'clock.mjs', CLOCK);
  for (const years of [1, -1]) {
    await trial.attempt(`boots ${years} year from the volume's dates`, async () => {
      const volume = await trial.sandbox.filledVolume();
      const daemon = await trial.sandbox.daemon({
        MODEL_CACHE_DIR: volume,
        CLOCK_SHIFT_MS: String(years * YEAR_MS),
        ...hook,
      });
      await daemon.ready(60_000);
      const { counters } = await statusOf(daemon);
      check(counters.downloads === 0 && counters.corruptions === 0, 'something expired');
      check(
        JSON.stringify(await goldenAnswers(daemon.url)) === JSON.stringify(trial.sandbox.golden),
        'other answers',
      );
    });
    await trial.attempt(`jumps by ${years} year while it serves, and a blob rots`, async () => {
      const volume = await trial.sandbox.filledVolume();
      const env = { MODEL_CACHE_DIR: volume, CLOCK_JUMP_MS: String(years * YEAR_MS), ...hook };
      const daemon = await trial.sandbox.daemon(env);
      await daemon.ready(60_000);
      const load = trial.sandbox.load(daemon);
      const { counters } = await statusOf(daemon);
      kill(pidOf(daemon), 'SIGUSR2');
      await sleep(100);
      await flipBit(join(volume, 'blobs/sha256', MODEL_DIGEST), 99);
      const since = performance.now();
      await until('the repair', 20_000, async () =>
        (await statusOf(daemon)).counters.repairs > counters.repairs ? true : undefined,
      );
      await wholesome(daemon);
      trial.healed(performance.now() - since);
      trial.requests(await load.stop());
      check((await daemon.stop()).code === 0, 'did not end with 0');
    });
  }
}

async function closedOutput(trial: Trial): Promise<void> {
  await trial.attempt('the reader of stdout goes away', async () => {
    const daemon = await trial.sandbox.daemon({
      MODEL_CACHE_DIR: await trial.sandbox.filledVolume(),
      LOG_LEVEL: 'trace',
    });
    await daemon.ready(60_000);
    daemon.child.stdout?.destroy();
    const load = trial.sandbox.load(daemon);
    await sleep(1_000);
    trial.requests(await load.stop());
    check((await daemon.stop()).code === 0, 'did not end with 0');
  });
  await trial.attempt('there never was a stdout', async () => {
    const volume = await trial.sandbox.filledVolume();
    const port = String(20_000 + trial.random.integer(0, 20_000));
    const env = {
      PATH: process.env.PATH,
      HF_HUB_OFFLINE: '1',
      MODEL_CACHE_DIR: volume,
      PORT: port,
      HOST: '127.0.0.1',
    };
    const child = spawn('sh', ['-c', `exec ${process.execPath} dist/main.js serve >&-`], {
      env,
      stdio: 'ignore',
    });
    try {
      await until('readiness', 60_000, async () =>
        (await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined))?.ok ? true : undefined,
      );
    } finally {
      child.kill('SIGKILL');
    }
  });
}

async function rejection(trial: Trial): Promise<void> {
  const hook = await preload(
    trial,
    'reject.mjs',
    `process.on('SIGUSR2', () => { Promise.reject(new Error('nobody foresaw this')); });`,
  );
  await trial.attempt('a rejection that nobody handles', async () => {
    const volume = await trial.sandbox.filledVolume();
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume, ...hook });
    await daemon.ready(60_000);
    const worker = Number(daemon.lines.find(({ msg }) => msg === 'inference worker ready')?.pid);
    kill(pidOf(daemon), 'SIGUSR2');
    await until('its end', 10_000, async () => (daemon.child.exitCode === null ? undefined : true));
    check(daemon.child.exitCode === 1, `ended with ${daemon.child.exitCode}`);
    await sleep(200);
    const last = JSON.stringify(daemon.lines.slice(-3));
    check(/unhandled rejection/.test(last) && /nobody foresaw this/.test(last), `not logged: ${last}`);
    await until('the end of its worker', 5_000, async () =>
      (await readdir(`/proc/${worker}`).catch(() => [])).length === 0 ? true : undefined,
    );
    const again = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume });
    await again.ready(60_000);
    check((await healthOf(again)).status === 'ready', 'the next boot is not a good one');
  });
}

async function preload(trial: Trial, name: string, source: string): Promise<{ NODE_OPTIONS: string }> {
  const file = join(await trial.sandbox.folder(), name);
  await writeFile(file, source);
  return { NODE_OPTIONS: `--import file://${file}` };
}

export const LIFE: readonly Row[] = [
  { number: 41, fault: 'SIGTERM in every phase; twice', run: signals },
  { number: 42, fault: 'clock ± 1 year', run: clock },
  { number: 43, fault: 'stdout closed', run: closedOutput },
  { number: 44, fault: 'unhandled rejection', run: rejection },
];
