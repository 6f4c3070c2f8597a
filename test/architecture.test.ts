import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';

/** Folders that each folder of `src` may import from, itself aside. `main` is `src/main.ts`. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  main: ['commands', 'daemon', 'shared'],
  commands: [
    'daemon',
    'lint',
    'scoring',
    'routes',
    'inference',
    'cache',
    'telemetry',
    'api',
    'config',
    'shared',
    'client',
  ],
  daemon: ['http', 'lint', 'scoring', 'routes', 'inference', 'cache', 'telemetry', 'api', 'config', 'shared'],
  http: ['lint', 'scoring', 'routes', 'inference', 'cache', 'telemetry', 'api', 'config', 'shared'],
  lint: ['scoring', 'routes', 'inference', 'api', 'config', 'shared'],
  scoring: ['routes', 'inference', 'api', 'config', 'shared'],
  routes: ['cache', 'api', 'config', 'shared'],
  inference: ['cache', 'config', 'shared'],
  telemetry: ['scoring', 'inference', 'cache', 'api', 'config', 'shared'],
  cache: ['api', 'config', 'shared'],
  page: ['api', 'client'],
  api: ['config', 'shared'],
  config: ['shared'],
  shared: [],
};

/** Packages and modules of Node that only some files may import. */
const FENCES: readonly { readonly packages: RegExp; readonly files: RegExp }[] = [
  { packages: /^(koa|@koa\/.*)$/, files: /^http\// },
  { packages: /^chokidar$/, files: /^(cache|routes)\// },
  { packages: /^node-cron$/, files: /^cache\// },
  { packages: /^pino(-pretty)?$/, files: /^telemetry\/logger\.ts$/ },
  { packages: /^prom-client$/, files: /^telemetry\// },
  { packages: /^@opentelemetry\//, files: /^telemetry\/open-telemetry\.ts$/ },
  { packages: /^(onnxruntime-node|@xenova\/transformers|@huggingface\/.*)$/, files: /^inference\// },
  { packages: /^node:child_process$/, files: /^(scoring|inference)\// },
  { packages: /^node:worker_threads$/, files: /^routes\// },
  { packages: /^csv-parse/, files: /^commands\/evaluation\// },
  { packages: /^yaml$/, files: /^routes\// },
];

/** Packages with native code, which belong into child processes. */
const NATIVE = /^(onnxruntime-node|@xenova\/transformers|@huggingface\/.*)$/;

/** `pin --fixed-scales` measures in the process of the command, which loads this by `import()`. */
const IN_PROCESS = 'inference/fixed-scales.ts';

const MAX_LINES = 450;
const MAX_ROOT_ENTRIES = 24;

interface Import {
  readonly target: string;
  /** Whether the import is gone after compilation. */
  readonly typeOnly: boolean;
  /** Whether the module is loaded by `import()`. */
  readonly dynamic: boolean;
}

const IMPORT =
  /(?:^|\n)\s*(?<type>import type|export type)?(?:import|export)?(?<names>[\s\w{},*$]*?)from '(?<from>[^']+)'|import\('(?<dynamic>[^']+)'\)|\nimport '(?<bare>[^']+)'/g;

/** Every import of every file of `src`, by path below `src`. */
const imports = new Map<string, readonly Import[]>();
const lines = new Map<string, number>();

beforeAll(async () => {
  const entries = await readdir('src', { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    if (!entry.isFile() || !entry.name.endsWith('.ts')) continue;
    const path = join(entry.parentPath, entry.name);
    const text = await readFile(path, 'utf8');
    lines.set(relative('src', path), text.split('\n').length - 1);
    imports.set(relative('src', path), importsOf(path, text));
  }
});

function importsOf(path: string, text: string): Import[] {
  const found: Import[] = [];
  for (const { groups = {} } of text.matchAll(IMPORT)) {
    const from = groups.from ?? groups.dynamic ?? groups.bare ?? '';
    const names = (groups.names ?? '').replace(/[{}]/g, '').split(',');
    const isOneType = names.every((name) => /^\s*(type\s|$)/.test(name)) && names.join('').trim() !== '';
    found.push({
      target: from.startsWith('.')
        ? relative('src', resolve(dirname(path), from)).replace(/\.js$/, '.ts')
        : from,
      typeOnly: groups.type !== undefined || isOneType,
      dynamic: groups.dynamic !== undefined,
    });
  }
  return found;
}

function folderOf(path: string): string {
  if (path.startsWith('../packages/client/')) return 'client';
  const [first = '', second] = path.split('/');
  return second === undefined ? first.replace(/\.ts$/, '') : first;
}

/** Packages that loading these files loads, without `import()` where `eager`. */
function loadedBy(roots: readonly string[], eager: boolean, except?: string): Set<string> {
  const packages = new Set<string>();
  const seen = new Set<string>();
  const pending = [...roots];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    for (const { target, typeOnly, dynamic } of imports.get(path) ?? []) {
      if (typeOnly || (eager && dynamic)) continue;
      if (target === except) continue;
      if (imports.has(target)) pending.push(target);
      else packages.add(target);
    }
  }
  return packages;
}

describe('the folders of src', () => {
  it('import in one direction only', () => {
    const wrong: string[] = [];
    for (const [path, list] of imports) {
      const from = folderOf(path);
      for (const { target } of list) {
        if (!/\.ts$|^\.\./.test(target)) continue;
        const to = folderOf(target);
        const arrow = `${path} → ${target}`;
        if (to !== from && !ALLOWED[from]?.includes(to)) wrong.push(arrow);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('are all known, with nothing beside them but main.ts', () => {
    expect(new Set([...imports.keys()].map(folderOf))).toEqual(new Set(Object.keys(ALLOWED)));
    expect([...imports.keys()].filter((path) => !path.includes('/'))).toEqual(['main.ts']);
  });

  it('import nothing that is not there', () => {
    const missing: string[] = [];
    for (const [path, list] of imports) {
      for (const { target } of list) {
        if (/\.ts$/.test(target) && !existsSync(join('src', target))) missing.push(`${path} → ${target}`);
      }
    }
    expect(missing).toEqual([]);
  });

  it(`have no file of more than ${MAX_LINES} lines`, () => {
    expect([...lines].filter(([, count]) => count > MAX_LINES)).toEqual([]);
  });
});

describe('packages', () => {
  it('stay behind their fences', () => {
    const wrong: string[] = [];
    for (const [path, list] of imports) {
      for (const { target, typeOnly } of list) {
        for (const { packages, files } of FENCES) {
          if (!typeOnly && packages.test(target) && !files.test(path)) wrong.push(`${path} → ${target}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it('with native code are loaded by child processes only', () => {
    const all = [...imports.values()].flat().map(({ target }) => target);
    expect(all.some((target) => NATIVE.test(target))).toBe(true);
    const loaded = loadedBy(['main.ts'], false, IN_PROCESS);
    expect(loaded).toContain('koa');
    expect([...loaded].filter((name) => NATIVE.test(name))).toEqual([]);
  });

  it('of the daemon are not loaded by --help', () => {
    const loaded = loadedBy(['main.ts', 'commands/cli.ts'], true);
    expect([...loaded].filter((name) => !name.startsWith('node:'))).toEqual([]);
  });
});

/** Other ways to wait, and an expectation right after a pause: it passes where nothing has happened yet. */
const WRONG_WAITS =
  /\bvi\.wait|\bexpect\s*\.poll\(|(\bsleep\(|\bsetTimeout\(\w+, )[^;]*;\s*(const [^;]*;\s*)*(await )?expect\(/;

it('tests wait by `eventually` alone, and prove no absence by a pause', async () => {
  const others: string[] = [];
  for (const name of await readdir('test', { recursive: true })) {
    if (!name.endsWith('.ts') || name === 'architecture.test.ts') continue;
    if (WRONG_WAITS.test(await readFile(join('test', name), 'utf8'))) others.push(name);
  }
  expect(others).toEqual([]);
});

it(`the root has at most ${MAX_ROOT_ENTRIES} visible entries`, async () => {
  const ignored = new Set(
    (await readFile('.gitignore', 'utf8')).split('\n').map((line) => line.replace(/\/$/, '')),
  );
  const visible = (await readdir('.')).filter((name) => !name.startsWith('.') && !ignored.has(name));
  expect(visible.length).toBeLessThanOrEqual(MAX_ROOT_ENTRIES);
});
