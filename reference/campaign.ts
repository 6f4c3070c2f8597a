import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { spawnDaemon } from '../test/support/daemon-process.js';

// Lets schemathesis (PyPI) try out the contract with all its checks, against a daemon of its own with keys, model
// files and an empty volume. Arguments go on to schemathesis: `npm run contract -- --max-examples 50`.
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
  const here = resolve('reference/schemathesis');
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
  process.exitCode = await new Promise<number>((done, fail) => {
    child.once('error', () => fail(new Error('schemathesis is not here: pip install schemathesis')));
    child.once('exit', (code) => done(code ?? 1));
  });
  for (const { level, msg, err } of daemon.lines) {
    if (level >= 50) process.stdout.write(`logged by the daemon: ${msg} ${JSON.stringify(err)}\n`);
  }
} finally {
  await daemon.stop();
  await rm(folder, { recursive: true, force: true });
}
