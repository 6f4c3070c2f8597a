import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Decision } from '../../src/api/classify.js';
import { servingDaemon, type TestDaemon } from '../support/daemon.js';
import { ownRoutes } from '../support/own-routes.js';
import { temporaryFolder } from '../support/volume.js';

/** Boots on a volume until it serves; what it says of its scorer. */
async function boot(
  volume: string,
  env: NodeJS.ProcessEnv,
): Promise<{ daemon: TestDaemon; scored: unknown; warned: boolean }> {
  const daemon = await servingDaemon({
    MODEL_CACHE_DIR: volume,
    INFERENCE_WORKERS: '2',
    ...env,
  });
  return {
    daemon,
    scored: daemon.lines.find(({ msg }) => msg === 'scorer ready'),
    warned: daemon.lines.some(({ msg }) => msg === 'head cache unavailable'),
  };
}

it('a boot trains nothing that was trained before, and trains again what has rotted', async () => {
  const volume = await temporaryFolder();
  const env = { ROUTES_FILE: ownRoutes(await temporaryFolder()) };
  const ask = async ({ post }: TestDaemon): Promise<Decision> => {
    const { status, body } = await post<Decision>('/classify', {
      text: 'translate my message to swedish',
      multi: true,
      explain: true,
    });
    expect(status).toBe(200);
    return body;
  };

  const first = await boot(volume, env);
  expect(first.scored).toMatchObject({ method: 'head', trained: true });
  const answer = await ask(first.daemon);
  expect(answer).toMatchObject({
    route: 'translation',
    routes: [{ route: 'translation', score: answer.score }],
    scorer: { method: 'head', version: 5, digest: expect.stringMatching(/^sha256:/) },
  });
  expect(answer.candidates[0]?.contribution?.head_probability).toBeGreaterThan(0.5);
  await first.daemon.stop();

  const second = await boot(volume, env);
  expect(second).toMatchObject({ scored: { method: 'head', trained: false }, warned: false });
  expect(await ask(second.daemon)).toEqual(answer);
  await second.daemon.stop();

  const folder = join(volume, 'vectors');
  const name = (await readdir(folder)).find((entry) => entry.endsWith('.heads.bin')) ?? '';
  const bytes = await readFile(join(folder, name));
  await writeFile(
    join(folder, name),
    bytes.map((byte, at) => (at === 500 ? byte ^ 0x10 : byte)),
  );
  const third = await boot(volume, env);
  expect(third).toMatchObject({ scored: { method: 'head', trained: true }, warned: true });
  expect(await ask(third.daemon)).toEqual(answer);
  await third.daemon.stop();
}, 120_000);
