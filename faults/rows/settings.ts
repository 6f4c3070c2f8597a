import { join } from 'node:path';
import type { Row } from '../../campaign/row.js';
import { check, type Trial } from '../../campaign/trial.js';

/** Variable, a wrong value, and whether the value is a secret. */
const WRONG: readonly [name: string, value: string, secret?: true][] = [
  ['PORT', '99999'],
  ['PORT', 'http'],
  ['VERIFY_CRON', 'hourly'],
  ['VERIFY_CRON', '99 * * * *'],
  ['MODEL_SOURCES', 'bundled,ftp'],
  ['MODEL_MIRRORS', 'ftp://user:hunter2-secret@example.org/', true],
  ['HF_ENDPOINT', 'not a url'],
  ['INFERENCE_WORKERS', '0'],
  ['DRAIN_MS', '-1'],
  ['REQUIRE_MOUNT', 'perhaps'],
  ['WITHOUT_VOLUME', 'panic'],
  ['ADMIN_KEYS', 'too-short', true],
  ['LOG_LEVEL', 'shout'],
  ['MODEL_VARIANT', 'fp64'],
  ['MODEL_MANIFEST', '/nonexistent/manifest.json'],
  ['ROUTES_FILE', '/nonexistent/routes.yaml'],
];

async function settings(trial: Trial): Promise<void> {
  const cases = trial.short ? WRONG.slice(0, 4) : WRONG;
  for (const [name, value, secret] of cases) {
    await trial.attempt(`${name}=${value}`, async () => {
      const volume = join(await trial.sandbox.folder(), 'volume');
      const ended = await trial.sandbox.run(['serve'], { MODEL_CACHE_DIR: volume, PORT: '0', [name]: value });
      check(ended.code === 2, `ended with ${ended.code}`);
      const named = ended.stderr.includes(name) || ended.stderr.includes(value);
      check(named, `names neither the variable nor the file: ${ended.stderr}`);
      check(!secret || !ended.stderr.includes(value.slice(-12)), 'a secret was printed');
      check(!/ at .*\.js:\d+/.test(ended.stderr), 'a stack for a wrong setting');
      check(!ended.stdout.includes('listening'), 'it listened');
    });
  }
  await trial.attempt('all at once', async () => {
    const env = Object.fromEntries(WRONG.slice(0, 14));
    const ended = await trial.sandbox.run(['serve'], env);
    check(ended.code === 2, `ended with ${ended.code}`);
    for (const name of Object.keys(env)) check(ended.stderr.includes(name), `${name} is not named`);
  });
}

export const SETTINGS: readonly Row[] = [{ number: 40, fault: 'wrong settings', run: settings }];
