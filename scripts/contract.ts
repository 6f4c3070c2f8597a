import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { resolve as absolute, join } from 'node:path';
import { spawnDaemon } from '../test/support/daemon-process.js';

// `npm run contract`: runs all checks of schemathesis (PyPI) against a daemon with keys, SERVE_MODEL and an empty
// volume, then those of jevcompat (PyPI) with and without keys. Arguments are passed on: `npm run contract -- --max-examples 50`.
const KEYS = { API_KEYS: 'an-api-key-of-good-length', ADMIN_KEYS: 'an-admin-key-of-good-length' };
const folder = await mkdtemp(join(tmpdir(), 'ai-router-contract-'));
const daemon = await spawnDaemon({
  ...KEYS,
  MODEL_CACHE_DIR: join(folder, 'volume'),
  HF_HUB_OFFLINE: '1',
  SERVE_MODEL: 'true',
});
try {
  await daemon.ready(60_000);
  const here = absolute('scripts/schemathesis');
  const args = ['--config-file', join(here, 'schemathesis.toml'), 'run', `${daemon.url}/openapi.json`];
  const child = spawn(
    process.env.SCHEMATHESIS ?? 'schemathesis',
    [
      ...args,
      '--header',
      `Authorization: Bearer ${KEYS.ADMIN_KEYS}`,
      '--checks',
      'all',
      ...process.argv.slice(2),
    ],
    {
      cwd: folder,
      stdio: 'inherit',
      env: { ...process.env, SCHEMATHESIS_HOOKS: 'hooks', CONTRACT_KEY: KEYS.ADMIN_KEYS, PYTHONPATH: here },
    },
  );
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', () => reject(new Error('schemathesis is not installed: pip install schemathesis')));
    child.once('exit', (code) => resolve(code ?? 1));
  });
  const open = await spawnDaemon({ MODEL_CACHE_DIR: join(folder, 'volume'), HF_HUB_OFFLINE: '1' });
  try {
    await open.ready(60_000);
    // The decision call, with and without keys.
    for (const test of [[daemon.url, '--key', KEYS.API_KEYS], [open.url]]) {
      const { status, error } = spawnSync(process.env.JEVCOMPAT ?? 'jevcompat', ['test', ...test], {
        stdio: 'inherit',
      });
      if (error) throw new Error('jevcompat is not installed: pip install jevcompat==0.1.1');
      process.exitCode ||= status ?? 1;
    }
  } finally {
    await open.stop();
  }
  for (const { level, msg, err } of daemon.lines) {
    if (level >= 50) process.stdout.write(`logged by the daemon: ${msg} ${JSON.stringify(err)}\n`);
  }
} finally {
  await daemon.stop();
  await rm(folder, { recursive: true, force: true });
}
