import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Row } from '../../campaign/row.js';
import { kill } from '../../campaign/sandbox.js';
import { check, type Trial } from '../../campaign/trial.js';
import { makeModel } from '../crash-scene.js';
import { healthOf, statusOf, until } from '../watch.js';

async function unloadable(trial: Trial): Promise<void> {
  const alike = async (what: string, change: (manifest: Record<string, unknown>) => void, code: string) =>
    trial.attempt(what, async () => {
      const manifest = JSON.parse(await readFile('model/manifest.json', 'utf8')) as Record<string, unknown>;
      change(manifest);
      const folder = await trial.sandbox.folder();
      const { writeFile } = await import('node:fs/promises');
      const file = join(folder, 'manifest.json');
      await writeFile(file, JSON.stringify(manifest));
      await hopeless(trial, { MODEL_MANIFEST: file, MODEL_CACHE_DIR: join(folder, 'volume') }, code);
    });
  await trial.attempt('random bytes that are right by digest', async () => {
    const model = await makeModel(trial, 100_000);
    const folder = await trial.sandbox.folder();
    const { writeTree } = await import('../write-tree.js');
    await writeTree(folder, model.files);
    const env = { MODEL_MANIFEST: model.manifestFile, MODEL_BUNDLED_DIR: folder };
    await hopeless(trial, { ...env, MODEL_CACHE_DIR: join(folder, 'volume') }, 'model_unloadable');
  });
  if (trial.short) return;
  await alike(
    'the tokenizer pinned as the model',
    (manifest) => {
      manifest.embedding = { ...(manifest.embedding as object), model: 'tokenizer.json' };
    },
    'model_unloadable',
  );
  await alike(
    'a model that does not give the known answers',
    (manifest) => {
      const { cases, ...rest } = manifest.canary as { cases: { text: string; embedding: string }[] };
      manifest.canary = { ...rest, cases: cases.map((one) => ({ ...one, text: `not ${one.text} at all` })) };
    },
    'canary_mismatch',
  );
}

/** Named, not ready, and nothing is fetched or started again and again. */
async function hopeless(trial: Trial, env: Record<string, string>, code: string): Promise<void> {
  const daemon = await trial.sandbox.daemon(env);
  const detail = await until(`the name ${code}`, 60_000, async () => {
    const { phase, checks } = await healthOf(daemon);
    return phase === 'failed' && checks.model?.code === code ? checks.model.detail : undefined;
  });
  check(detail !== '', 'no reason');
  const { downloads } = (await statusOf(daemon)).counters;
  const lines = daemon.lines.length;
  await sleep(trial.short ? 1_000 : 5_000);
  check((await statusOf(daemon)).counters.downloads === downloads, 'it fetches again and again');
  check(
    daemon.lines.length - lines < 10,
    `${daemon.lines.length - lines} lines of log while nothing happens`,
  );
  check((await daemon.get('/livez')).status === 200, 'not alive');
  check((await daemon.post('/classify', { text: 'hi' })).status === 503, 'it should not answer');
  check((await daemon.stop()).code === 0, 'did not end with 0');
}

interface Metrics {
  readonly checks: { readonly model: { readonly ok: boolean } };
}

async function workers(trial: Trial): Promise<void> {
  const volume = await trial.sandbox.filledVolume();
  const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume, INFERENCE_WORKERS: '2' });
  await daemon.ready(60_000);
  const alive = (): number[] => {
    const lost = new Set(
      daemon.lines.flatMap(({ msg, pid }) => (/worker lost/.test(msg) ? [Number(pid)] : [])),
    );
    return daemon.lines.flatMap(({ msg, pid }) =>
      msg === 'inference worker ready' && !lost.has(Number(pid)) ? [Number(pid)] : [],
    );
  };
  const complete = (): Promise<true> =>
    until('both workers', 60_000, async () => {
      const { body } = await daemon.get<Metrics>('/health');
      return body.checks.model.ok && alive().length === 2 ? true : undefined;
    });
  const rounds = trial.short ? 2 : 6;
  for (let round = 0; round < rounds; round += 1) {
    await trial.attempt('a worker is killed in a forward pass', async () => {
      await complete();
      const load = trial.sandbox.load(daemon);
      await sleep(trial.random.integer(100, 300));
      const since = performance.now();
      kill(trial.random.pick(alive()), 'SIGKILL');
      await sleep(50);
      await complete();
      trial.healed(performance.now() - since);
      trial.requests(await load.stop());
    });
  }
  if (trial.short) return;
  await trial.attempt('a worker hangs: frozen under load', async () => {
    await complete();
    const load = trial.sandbox.load(daemon);
    await sleep(200);
    const victim = trial.random.pick(alive());
    const since = performance.now();
    kill(victim, 'SIGSTOP');
    await until('its replacement', 60_000, async () => (alive().includes(victim) ? undefined : true));
    await complete();
    trial.healed(performance.now() - since);
    trial.requests(await load.stop());
  });
}

export const MODEL: readonly Row[] = [
  { number: 34, fault: 'right digest, unloadable model', run: unloadable },
  { number: 36, fault: 'worker dies or hangs in a forward pass', run: workers },
];
