import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { resolve as absolute, join } from 'node:path';
import { spawnDaemon, type TestDaemon } from '../test/support/daemon-process.js';
import { commandLine } from './command-line.js';
import { pythonIn, run, runRecipes } from './recipes.js';

const HELP = `\`npm run contract\`: other people's programs against real daemons. Without arguments all parts run:

  npm run contract -- schemathesis [OPTION…]   all its checks on every operation, e.g. --max-examples 50
  npm run contract -- jevcompat                the decision call, with and without keys
  npm run contract -- recipes [WORD…]          docs/recipes.md, or the recipes with these words in their headings

Needs python3 with pip, and npm. All is installed into a temporary folder, or into CONTRACT_FOLDER, which is kept.`;

const CHECKERS = ['schemathesis==4.32.5', 'jevcompat==0.1.1'];
const KEYS = { API_KEYS: 'an-api-key-of-good-length', ADMIN_KEYS: 'an-admin-key-of-good-length' };

const parts = { schemathesis, jevcompat, recipes };
// What follows the part is its own, also options.
const [part, ...args] = process.argv.slice(2);
commandLine(HELP, { words: Object.keys(parts), args: part === undefined ? [] : [part] });

const folder = process.env.CONTRACT_FOLDER ?? (await mkdtemp(join(tmpdir(), 'ai-router-contract-')));
try {
  for (const [name, check] of Object.entries(parts)) {
    if ((part ?? name) === name && !(await check(args))) process.exitCode = 1;
  }
} finally {
  if (process.env.CONTRACT_FOLDER === undefined) await rm(folder, { recursive: true, force: true });
}

/** Gives a daemon with an empty volume to a check, and prints the errors that it logged. */
async function withDaemon<T>(
  env: Readonly<Record<string, string>>,
  check: (daemon: TestDaemon) => Promise<T>,
): Promise<T> {
  const volume = await mkdtemp(join(tmpdir(), 'ai-router-contract-volume-'));
  const daemon = await spawnDaemon({ MODEL_CACHE_DIR: volume, HF_HUB_OFFLINE: '1', ...env });
  try {
    await daemon.ready(60_000);
    return await check(daemon);
  } finally {
    await daemon.stop();
    for (const { level, msg, err } of daemon.lines) {
      if (level >= 50) process.stdout.write(`logged by the daemon: ${msg} ${JSON.stringify(err)}\n`);
    }
    await rm(volume, { recursive: true, force: true });
  }
}

async function checkers(): Promise<Record<string, string | undefined>> {
  const env = await pythonIn(join(folder, 'checkers'));
  const { code, stderr } = await run('pip', ['install', '--quiet', ...CHECKERS], { env });
  if (code !== 0) throw new Error(`pip install failed: ${stderr}`);
  return env;
}

async function schemathesis(options: readonly string[]): Promise<boolean> {
  const env = await checkers();
  const here = absolute('scripts/schemathesis');
  return await withDaemon({ ...KEYS, SERVE_MODEL: 'true' }, async ({ url }) => {
    const { code } = await run(
      'schemathesis',
      [
        ...['--config-file', join(here, 'schemathesis.toml'), 'run', `${url}/openapi.json`],
        ...['--header', `Authorization: Bearer ${KEYS.ADMIN_KEYS}`, '--checks', 'all', ...options],
      ],
      {
        cwd: folder,
        env: { ...env, SCHEMATHESIS_HOOKS: 'hooks', CONTRACT_KEY: KEYS.ADMIN_KEYS, PYTHONPATH: here },
        shown: true,
      },
    );
    return code === 0;
  });
}

async function jevcompat(): Promise<boolean> {
  const env = { ...(await checkers()), NO_COLOR: '1' };
  const test = async (url: string, ...options: readonly string[]): Promise<boolean> => {
    const { code, stdout } = await run('jevcompat', ['test', url, ...options], { env, shown: true });
    // It ends with 0 where only a SHOULD is missing.
    return code === 0 && /^conformant to spec .*: MUST (\d+)\/\1, SHOULD (\d+)\/\2\b/m.test(stdout);
  };
  const closed = await withDaemon(KEYS, ({ url }) => test(url, '--key', KEYS.API_KEYS));
  const open = await withDaemon({}, ({ url }) => test(url));
  return closed && open;
}

async function recipes(words: readonly string[]): Promise<boolean> {
  return await withDaemon({}, ({ url }) => runRecipes(url, join(folder, 'recipes'), words));
}
