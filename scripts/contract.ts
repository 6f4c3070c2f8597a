import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { resolve as absolute, join } from 'node:path';
import { spawnDaemon, type TestDaemon } from '../test/support/daemon-process.js';
import { commandLine } from './command-line.js';

const HELP = `\`npm run contract\`: other people's programs against real daemons. Without arguments all parts run:

  npm run contract -- schemathesis [OPTION…]   all its checks on every operation, e.g. --max-examples 50
  npm run contract -- jevcompat                the decision call, with and without keys
  npm run contract -- recipes [WORD…]          docs/recipes.md, or the recipes with these words in their headings

Needs python3 with pip, and npm. All is installed into a temporary folder, or into CONTRACT_FOLDER, which is kept.`;

const CHECKERS = ['schemathesis==4.32.5', 'jevcompat==0.1.1'];
const KEYS = { API_KEYS: 'an-api-key-of-good-length', ADMIN_KEYS: 'an-admin-key-of-good-length' };
/** Marks the blocks of docs/recipes.md, which `npm run contract` runs instead of the tests. */
const BLOCK = /^```(\w+) no-run: `npm run contract` runs it(?: as ([\w.-]+))?\n([\s\S]*?)^```$/gm;
const INSTALL_MS = 420_000;
const RUN_MS = 120_000;

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

/** Commands that install a client, and a program that calls the daemon with it. */
interface Recipe {
  readonly title: string;
  readonly install: string;
  /** Files that the program reads, by name. */
  readonly files: readonly { readonly name: string; readonly code: string }[];
  readonly language: 'python' | 'js';
  readonly code: string;
}

async function readRecipes(): Promise<Recipe[]> {
  const sections = (await readFile('docs/recipes.md', 'utf8')).split(/^## /m).slice(1);
  return sections.flatMap((section) => {
    const blocks = [...section.matchAll(BLOCK)].map(([, language, name = '', code = '']) => ({
      language,
      name,
      code,
    }));
    const install = blocks.find(({ language }) => language === 'sh')?.code;
    const program = blocks.find(({ language }) => language === 'python' || language === 'js');
    if (install === undefined || program === undefined) return [];
    const language = program.language === 'js' ? 'js' : 'python';
    return [
      {
        title: section.split('\n', 1)[0] ?? '',
        install,
        files: blocks.filter(({ name }) => name !== ''),
        language,
        code: program.code,
      },
    ];
  });
}

/** Runs a program; returns its exit code and what it wrote to stdout. */
async function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string | undefined>; timeout?: number; shown?: boolean } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { shown, ...rest } = options;
  const child = spawn(command, args, { ...rest, stdio: ['ignore', 'pipe', 'pipe'] });
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text;
      if (shown) process[name].write(text);
    });
  }
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
  return { code, ...texts };
}

/** Makes a folder with a Python of its own; returns an environment in which its programs come first. */
async function pythonIn(folder: string): Promise<Record<string, string | undefined>> {
  const { code, stderr } = await run('python3', ['-m', 'venv', folder]);
  if (code !== 0) throw new Error(`python3 -m venv failed: ${stderr}`);
  return {
    ...process.env,
    PATH: `${join(folder, 'bin')}:${process.env.PATH}`,
    PIP_DISABLE_PIP_VERSION_CHECK: '1',
  };
}

/** Expected output of the program: the comments behind `print(…)` and `console.log(…)`. */
function expectedOf({ code }: Recipe): string[] {
  return [...code.matchAll(/^\s*(?:print|console\.log)\(.*\);? +(?:#|\/\/) (.+)$/gm)].map(
    ([, text = '']) => text,
  );
}

/** The packages that a recipe names, with the versions that were installed. */
async function versionsOf(
  { install, language }: Recipe,
  cwd: string,
  env: Record<string, string | undefined>,
) {
  const named = install.split(/\s+/).map((word) => word.replace(/^"|(?<=.)[[<>=@].*$|"$/g, '').toLowerCase());
  const [command = '', ...args] =
    language === 'python' ? ['pip', 'list', '--format=json'] : ['npm', 'ls', '--json', '--depth=0'];
  const listed: unknown = JSON.parse((await run(command, args, { cwd, env })).stdout || '[]');
  const installed = Array.isArray(listed)
    ? (listed as { name: string; version: string }[])
    : Object.entries(
        (listed as { dependencies?: Record<string, { version: string }> }).dependencies ?? {},
      ).map(([name, { version }]) => ({ name, version }));
  return installed
    .filter(({ name }) => name !== 'pip' && named.includes(name.toLowerCase()))
    .map(({ name, version }) => `${name} ${version}`)
    .join(', ');
}

/** Installs a client and runs its program; returns the versions, and what went wrong. */
async function runRecipe(
  recipe: Recipe,
  url: string,
  folder: string,
): Promise<{ versions: string; fault?: string }> {
  await mkdir(folder, { recursive: true });
  const env = recipe.language === 'python' ? await pythonIn(folder) : { ...process.env };
  if (recipe.language === 'js') {
    await writeFile(join(folder, 'package.json'), '{"name": "recipe", "private": true, "type": "module"}');
  }
  const installed = await run('bash', ['-ec', recipe.install], { cwd: folder, env, timeout: INSTALL_MS });
  if (installed.code !== 0)
    return { versions: '', fault: `not installed: ${installed.stderr.slice(-1_000)}` };
  const versions = await versionsOf(recipe, folder, env);
  const file = recipe.language === 'js' ? 'recipe.js' : 'recipe.py';
  for (const { name, code } of [...recipe.files, { name: file, code: recipe.code }]) {
    await writeFile(join(folder, name), code.replaceAll('http://localhost:3000', url));
  }
  const command = recipe.language === 'js' ? process.execPath : 'python';
  const { code, stdout, stderr } = await run(command, [file], { cwd: folder, env, timeout: RUN_MS });
  const expected = expectedOf(recipe).join('\n');
  // A client may print lines of its own before.
  if (code === 0 && expected !== '' && `\n${stdout.trim()}`.endsWith(`\n${expected}`)) return { versions };
  return { versions, fault: `expected:\n${expected}\nprinted:\n${stdout}\n${stderr.slice(-2_000)}` };
}

/**
 * Runs the recipes whose headings hold one of the given words, or all, against a daemon; says of each whether it printed what
 * the page says. Returns whether all did.
 */
async function runRecipes(url: string, folder: string, words: readonly string[]): Promise<boolean> {
  const chosen = (await readRecipes()).filter(
    ({ title }) =>
      words.length === 0 || words.some((word) => title.toLowerCase().includes(word.toLowerCase())),
  );
  if (chosen.length === 0) throw new Error(`no recipe of docs/recipes.md is called ${words.join(' or ')}`);
  let passed = 0;
  for (const recipe of chosen) {
    const name = recipe.title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
    const { versions, fault } = await runRecipe(recipe, url, join(folder, name));
    if (fault === undefined) passed += 1;
    process.stdout.write(
      `${fault === undefined ? 'pass' : 'FAIL'}  ${recipe.title} (${versions})\n${fault ?? ''}`,
    );
  }
  process.stdout.write(`${passed} of ${chosen.length} recipes passed\n`);
  return passed === chosen.length;
}
