import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { servingDaemon } from '../support/daemon.js';
import { ownRoutes } from '../support/own-routes.js';
import { temporaryFolder } from '../support/volume.js';

it('pull --routes leaves a first start nothing to embed and nothing to train', async () => {
  const volume = await temporaryFolder();
  const env = {
    MODEL_CACHE_DIR: volume,
    HF_HUB_OFFLINE: '1',
    ROUTES_FILE: ownRoutes(await temporaryFolder()),
  };
  const stdout = execFileSync(process.execPath, ['dist/main.js', 'pull', '--routes', '--quiet', '--json'], {
    env: { PATH: process.env.PATH, ...env },
    encoding: 'utf8',
  });
  expect(JSON.parse(stdout)).toMatchObject({ whole: true, routes: 16 });

  const daemon = await servingDaemon(env);
  const line = (msg: string) => daemon.lines.find((candidate) => candidate.msg === msg);
  expect(line('scorer ready')).toMatchObject({ method: 'head', trained: false });
  expect(line('routes embedded')).toMatchObject({ embedded: 0, cached: 305 });
});
