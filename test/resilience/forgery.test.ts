import { spawnSync } from 'node:child_process';
import {
  appendFile,
  copyFile,
  cp,
  mkdir,
  open,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { eventually } from '../support/eventually.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';
import { Box, healthOf, it, LONG, longIt, MODEL_DIGEST, statusOf, whole } from './box.js';
import { filesBelow, flipBit } from './rot.js';

const KEY = 'a-key-of-the-resilience-tests';
const ROUTES = await readFile('routes/default.yaml', 'utf8');
const JSON_FORGERIES = [
  'null',
  '[]',
  '{}',
  '{"schema":1}',
  '-1',
  '"text"',
  '{',
  '[[[[[[[[[[',
  '{"__proto__":{}}',
  '1e999',
];

/** One way to change any file of a volume. */
type Forgery = readonly [kind: string, forge: (path: string, box: Box) => Promise<unknown>];

const FORGERIES: readonly Forgery[] = [
  ['random bytes', async (path, box) => writeFile(path, box.random.bytes(5_000))],
  [
    'a folder',
    async (path) => {
      await rm(path);
      await mkdir(path);
    },
  ],
  ['emptied', (path) => truncate(path, 0)],
  [
    'a few bytes replaced',
    async (path, box) => {
      const { size } = await stat(path);
      for (let n = 0; n < 3; n += 1) await flipBit(path, box.random.integer(0, Math.max(0, size - 1)));
    },
  ],
  ['cut in the middle', async (path) => truncate(path, Math.floor((await stat(path)).size / 2))],
  ['extended', (path, box) => appendFile(path, box.random.bytes(100))],
  ['JSON of another shape', (path, box) => writeFile(path, box.random.pick(JSON_FORGERIES))],
  [
    'numbers replaced',
    async (path) => {
      const text = await readFile(path, 'latin1');
      await writeFile(path, text.replace(/\d+/g, '99999999999999999999'), 'latin1');
    },
  ],
  ['a sparse gibibyte', (path) => truncate(path, 2 ** 30)],
  [
    'a FIFO',
    async (path) => {
      await rm(path);
      spawnSync('mkfifo', [path]);
    },
  ],
  [
    'a link',
    async (path) => {
      await rm(path);
      await symlink('/etc/passwd', path);
    },
  ],
  [
    'a neighbour of the same kind',
    async (path) => {
      const folder = dirname(path);
      for (const other of await filesBelow(folder))
        if (other !== basename(path) && !other.includes('/')) return copyFile(join(folder, other), path);
    },
  ],
];

/** Names in folders of the volume that no daemon writes. */
const NAMES: readonly string[] = [
  `quarantine/${'a'.repeat(64)}.99999999999999999999`,
  `quarantine/${'a'.repeat(64)}.0`,
  'quarantine/\u001b[2J\nname',
  `ingest/${'b'.repeat(64)}.x.part`,
  `ingest/${'n'.repeat(250)}`,
  `blobs/sha256/${'c'.repeat(64)}`,
  'blobs/sha256/.hidden',
  `vectors/${'d'.repeat(64)}.heads.bin`,
  `routes/${'e'.repeat(64)}.json`,
  'routes/previous.json',
  'constructor',
  '__proto__',
];

/** A volume with a file of each kind: blobs, vectors, heads, versions of routes, quarantine with its note, state. */
let real: string;
let files: readonly string[];
const atEnd = suiteEnd();

beforeAll(async () => {
  const box = new Box('a volume with a file of each kind');
  try {
    const { daemon, volume, blob } = await box.serving({ ADMIN_KEYS: KEY });
    const headers = { authorization: `Bearer ${KEY}` };
    const put = async (text: string): Promise<void> => {
      const etag = (await fetch(`${daemon.url}/routes`)).headers.get('etag') ?? '';
      const sent = { ...headers, 'content-type': 'application/yaml', 'if-match': etag };
      expect(await fetch(`${daemon.url}/routes`, { method: 'PUT', headers: sent, body: text })).toMatchObject(
        {
          status: 200,
        },
      );
    };
    await put(ROUTES.replace('queue: billing', 'queue: billing-2'));
    await put(
      ROUTES.replace('write unit tests for this python class', 'write unit tests for this ruby class'),
    );
    await put(ROUTES);
    await flipBit(blob, 1_000);
    await eventually(async () => expect((await statusOf(daemon)).quarantine).not.toEqual([]));
    await whole(daemon);
    await box.expectGolden(daemon);
    await daemon.stop();
    real = join(await temporaryFolder(atEnd), 'volume');
    await cp(volume, real, { recursive: true });
    files = await filesBelow(real);
    for (const kind of ['blobs/', 'vectors/', 'routes/', 'quarantine/', 'state.json'])
      expect(
        files.filter((path) => path.startsWith(kind)),
        kind,
      ).not.toEqual([]);
  } finally {
    await box.close();
  }
});

/**
 * Boots on the volume and expects readiness, the golden answers, a repair of a blob and a clean end. In the place of a
 * damaged history of routes the one before it serves, and `/health` says so.
 */
async function serves(box: Box, volume: string, forged = ''): Promise<void> {
  const daemon = await box.daemon({ MODEL_CACHE_DIR: volume, ADMIN_KEYS: KEY });
  await daemon.ready(90_000);
  if (forged === 'routes/current.json') {
    const { routes } = (await healthOf(daemon)).checks;
    expect(routes).toMatchObject({
      ok: false,
      code: 'blob_corrupt',
      detail: expect.stringContaining('previous.json takes its place'),
    });
  } else await box.expectGolden(daemon);
  await whole(daemon);
  const { repairs } = (await statusOf(daemon)).counters;
  await flipBit(join(volume, 'blobs/sha256', MODEL_DIGEST), 2_000);
  await eventually(async () => expect((await statusOf(daemon)).counters.repairs).toBeGreaterThan(repairs));
  await whole(daemon);
  expect(daemon.lines.filter(({ level }) => level >= 60)).toEqual([]);
  expect(await daemon.stop()).toMatchObject({ code: 0 });
}

async function copyOf(box: Box): Promise<string> {
  const volume = await box.noVolume();
  await cp(real, volume, { recursive: true });
  return volume;
}

describe('a boot on a volume whose files were forged gives the right answers', () => {
  it.for(LONG ? FORGERIES : FORGERIES.slice(0, 3))(
    'every file but the blobs at once: %s',
    async ([, forge], { box }) => {
      const volume = await copyOf(box);
      for (const path of files) if (!path.startsWith('blobs/')) await forge(join(volume, path), box);
      await serves(box, volume);
    },
  );

  longIt.concurrent.for(FORGERIES)('each file alone: %s', async ([, forge], { box }) => {
    for (const path of files) {
      const volume = await copyOf(box);
      await forge(join(volume, path), box);
      await serves(box, volume, path).catch((error: unknown) => {
        throw new Error(`${path}: ${error}`, { cause: error });
      });
      await rm(volume, { recursive: true });
    }
  });

  it('names that no daemon writes', async ({ box }) => {
    const volume = await copyOf(box);
    for (const name of NAMES) await writeFile(join(volume, name), 'x');
    const sparse = await open(join(volume, 'vectors', `${'f'.repeat(64)}.bin`), 'w');
    await sparse.truncate(2 ** 30);
    await sparse.close();
    await serves(box, volume);
  });
});
