import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect } from 'vitest';
import { PROGRAM, type TestDaemon } from '../support/daemon-process.js';
import { eventually } from '../support/eventually.js';
import { childrenOf, kill } from '../support/processes.js';
import { has } from '../support/tools.js';
import { writeTree } from '../support/volume.js';
import { type Box, healthOf, it, LONG, longIt, manifest, pidOf, some, statusOf, whole } from './box.js';
import { makeModel } from './crash.js';
import { flipBit, survey } from './rot.js';

const withProc = it.runIf(LONG && has('proc'));

describe('SIGTERM ends the daemon with 0 and harms nothing', () => {
  const LIMIT_MS = 10_000;

  async function endsWell(box: Box, daemon: TestDaemon, volume?: string): Promise<void> {
    await box.timed('end', LIMIT_MS, async () =>
      expect(await daemon.stop(), daemon.stderr()).toMatchObject({ code: 0 }),
    );
    if (volume === undefined) return;
    const { torn, strays } = await survey(volume, manifest);
    expect(torn).toEqual([]);
    expect(strays.filter((path) => !path.endsWith('.part'))).toEqual([]);
  }

  it.concurrent.for(some([50, 400, 0, 20, 100, 200, 300, 500, 700, 900, 1_200, 1_600], 2))(
    '%d ms after it listens on an empty volume',
    async (delay, { box }) => {
      const volume = await box.noVolume();
      const daemon = await box.daemon({ MODEL_CACHE_DIR: volume });
      await sleep(delay);
      await endsWell(box, daemon, volume);
    },
  );

  longIt('before it listens', async ({ box }) => {
    const { child, ended } = box.start(['serve'], { MODEL_CACHE_DIR: await box.noVolume(), PORT: '0' });
    await sleep(box.random.integer(80, 160));
    child.kill('SIGTERM');
    const { code, signal } = await ended;
    // Before the first line of the program runs, the signal's default holds.
    expect(code === 0 || signal === 'SIGTERM', `${code} ${signal}`).toBe(true);
  });

  it.concurrent('twice: at once, with 143', async ({ box }) => {
    const { daemon } = await box.serving();
    const texts = Array(250).fill('some words '.repeat(120));
    const slow = daemon.post('/classify/batch', { texts }).catch(() => undefined);
    await eventually(async () => expect(await daemon.get('/livez')).toMatchObject({ status: 200 }));
    daemon.child.kill('SIGTERM');
    await eventually(() =>
      expect(daemon.lines.some(({ msg }) => /SIGTERM|shut|drain/i.test(msg))).toBe(true),
    );
    expect(await daemon.stop()).toMatchObject({ code: 143 });
    await slow;
  });
});

describe('a model with the right digests that cannot be used is named, not fetched again', () => {
  /** Expects the code, no further downloads, and a daemon that is alive. */
  async function isHopeless(box: Box, env: Record<string, string>, code: string): Promise<void> {
    const key = 'a-key-of-the-resilience-tests';
    const daemon = await box.daemon({ ...env, ADMIN_KEYS: key, MODEL_CACHE_DIR: await box.noVolume() });
    await eventually(
      async () =>
        expect(await healthOf(daemon)).toMatchObject({ phase: 'failed', checks: { model: { code } } }),
      { within: 60_000 },
    );
    const { downloads } = (await statusOf(daemon)).counters;
    const verify = await daemon.post('/cache/verify', {}, { authorization: `Bearer ${key}` });
    expect(verify.status).toBe(200);
    expect((await statusOf(daemon)).counters.downloads).toBe(downloads);
    expect((await daemon.get('/livez')).status).toBe(200);
    expect((await daemon.post('/classify', { text: 'hi' })).status).toBe(503);
    expect(await daemon.stop()).toMatchObject({ code: 0 });
  }

  it.concurrent('random bytes', async ({ box }) => {
    const model = await makeModel(box, 100_000);
    const folder = await box.folder();
    await writeTree(folder, model.files);
    await isHopeless(
      box,
      { MODEL_MANIFEST: model.manifestFile, MODEL_BUNDLED_DIR: folder },
      'model_unloadable',
    );
  });

  longIt.concurrent('the tokenizer pinned as the model', async ({ box }) => {
    const embedding = { ...manifest.embedding, model: 'tokenizer.json' };
    const file = await box.manifestFile({ ...manifest, embedding });
    await isHopeless(box, { MODEL_MANIFEST: file }, 'model_unloadable');
  });

  longIt.concurrent('a model that does not give the known answers', async ({ box }) => {
    const cases = manifest.canary.cases.map((one) => ({ ...one, text: `not ${one.text} at all` }));
    const file = await box.manifestFile({ ...manifest, canary: { ...manifest.canary, cases } });
    await isHopeless(box, { MODEL_MANIFEST: file }, 'canary_mismatch');
  });
});

describe('a worker that is lost in a forward pass is replaced, and every request answered', () => {
  it.runIf(has('proc')).for(some(['SIGKILL', 'SIGSTOP'] as const, 1))('%s', async (signal, { box }) => {
    const { daemon } = await box.serving({ INFERENCE_WORKERS: '2' });
    const complete = (but?: number): Promise<number[]> =>
      eventually(
        async () => {
          const workers = childrenOf(pidOf(daemon)).filter((pid) => pid !== but);
          expect(workers).toHaveLength(2);
          expect(await healthOf(daemon)).toMatchObject({ checks: { model: { ok: true } } });
          return workers;
        },
        { within: 90_000 },
      );
    for (let round = 0; round < (LONG ? 6 : 2); round += 1) {
      const victim = box.random.pick(await complete());
      const load = box.load(daemon);
      await load.answers(box.random.integer(20, 60));
      kill(victim, signal);
      await box.timed('both workers again', 60_000, () => complete(victim));
      await load.stop();
    }
  });
});

/** Loads a module before the program. */
async function preload(box: Box, source: string): Promise<{ NODE_OPTIONS: string }> {
  const file = join(await box.folder(), 'preload.mjs');
  await writeFile(file, source);
  return { NODE_OPTIONS: `--import file://${file}` };
}

/** Shifts the clock: at the start by `CLOCK_SHIFT_MS`, and by `CLOCK_JUMP_MS` at each SIGUSR2. */
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

describe('a clock that is wrong', () => {
  longIt.concurrent.for([1, -1])('%d year at the boot: nothing expires', async (years, { box }) => {
    const { daemon } = await box.serving({
      CLOCK_SHIFT_MS: String(years * YEAR_MS),
      ...(await preload(box, CLOCK)),
    });
    expect((await statusOf(daemon)).counters).toMatchObject({ downloads: 0, corruptions: 0 });
    await box.expectGolden(daemon);
  });

  longIt.concurrent.for([1, -1])('jumps by %d year, then a blob rots: repaired', async (years, { box }) => {
    const { daemon, blob } = await box.serving({
      CLOCK_JUMP_MS: String(years * YEAR_MS),
      ...(await preload(box, CLOCK)),
    });
    const load = box.load(daemon);
    const { repairs } = (await statusOf(daemon)).counters;
    kill(pidOf(daemon), 'SIGUSR2');
    await load.answers(20);
    await flipBit(blob, 99);
    await eventually(async () => expect((await statusOf(daemon)).counters.repairs).toBeGreaterThan(repairs));
    await whole(daemon);
    await load.stop();
    expect(await daemon.stop()).toMatchObject({ code: 0 });
  });
});

describe('standard output', () => {
  longIt('was never open: the daemon becomes ready', async ({ box }) => {
    const PORT = String(box.random.integer(20_000, 30_000));
    const env = { MODEL_CACHE_DIR: await box.filledVolume(), HOST: '127.0.0.1', PORT };
    box.start([], env, ['sh', '-c', `exec ${process.execPath} ${PROGRAM.join(' ')} >&-`]);
    await eventually(
      async () => expect(await fetch(`http://127.0.0.1:${PORT}/readyz`)).toMatchObject({ ok: true }),
      {
        within: 60_000,
      },
    );
  });
});

describe('a rejection that nothing handles', () => {
  withProc(
    'ends the daemon with 1, a log line, and no worker left; the next boot is good',
    async ({ box }) => {
      const source = `process.on('SIGUSR2', () => { Promise.reject(new Error('not foreseen')); });`;
      const { daemon, volume } = await box.serving(await preload(box, source));
      const [worker] = childrenOf(pidOf(daemon));
      expect(worker).toBeDefined();
      kill(pidOf(daemon), 'SIGUSR2');
      await eventually(() => expect(daemon.child.exitCode).toBe(1));
      await eventually(() =>
        expect(JSON.stringify(daemon.lines.slice(-3))).toMatch(/not foreseen.*unhandled rejection/),
      );
      await eventually(async () => expect(await readdir(`/proc/${worker}`).catch(() => [])).toEqual([]));
      const again = await box.daemon({ MODEL_CACHE_DIR: volume });
      await again.ready(60_000);
      expect(await healthOf(again)).toMatchObject({ status: 'ready' });
      expect(await readFile(join(volume, 'state.json'), 'utf8')).not.toBe('');
    },
  );
});
