import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { layoutOf } from '../../src/cache/layout.js';
import { ContentStore } from '../../src/cache/store.js';
import { parseRouteSet } from '../../src/routes/parse.js';
import {
  encodeHistory,
  type RouteVersion,
  RouteVersions,
  VERSION_LIMITS,
} from '../../src/routes/versions.js';
import { AppError } from '../../src/shared/errors.js';
import { temporaryFolder } from '../support/volume.js';

function setOf(word: string) {
  const routes = [{ name: word, utterances: [`say ${word}`, `${word} please`], metadata: { tier: word } }];
  return parseRouteSet(JSON.stringify({ routes }), { origin: 'test.json' });
}

const a = setOf('alpha');
const b = setOf('beta');

async function volume() {
  const store = new ContentStore(await temporaryFolder());
  await store.prepare();
  return { layout: store.layout, versions: new RouteVersions(store.layout) };
}

const put = (set: typeof a) => ({ set, action: 'replace', based_on: a.digest }) as const;

describe('versions of the routes', () => {
  it('are read back as they were written, document by document', async () => {
    const { layout, versions } = await volume();
    expect(await versions.read()).toEqual({ history: [] });
    const history = await versions.append([], [{ ...put(a), action: 'file' }, put(b)]);
    expect(history.map(({ version, digest }) => [version, digest])).toEqual([
      [1, a.digest],
      [2, b.digest],
    ]);
    expect(await new RouteVersions(layout).read()).toEqual({ history });
    for (const entry of history) expect((await versions.load(entry)).digest).toBe(entry.digest);
    // A document is a routes file like any other.
    const document = join(layout.routes, `${history[1]?.document}.json`);
    expect(parseRouteSet(await readFile(document, 'utf8'), { origin: 'x.json' }).digest).toBe(b.digest);
  });

  it.each<[string, (entry: RouteVersion) => object]>([
    ['a document outside of the folder', () => ({ document: '../../etc/passwd' })],
    ['a version that does not ascend', () => ({ version: 1 })],
    ['a version beyond counting', () => ({ version: Number.MAX_SAFE_INTEGER })],
    ['a time that is none', () => ({ at: 'yesterday' })],
  ])('are not believed with %s, whatever their checksum', async (_name, change) => {
    const { layout, versions } = await volume();
    const [first, second] = await versions.append([], [put(a), put(b)]);
    if (!first || !second) throw new Error('two versions were appended');
    const forged = encodeHistory([first, { ...second, ...change(second) }]);
    await writeFile(join(layout.routes, 'current.json'), forged);
    expect(await versions.read()).toEqual({ history: [], problem: expect.stringContaining('damaged') });
  });

  it('are not believed when a document holds other routes than the history says', async () => {
    const { versions } = await volume();
    const [first, second] = await versions.append([], [put(a), put(b)]);
    if (!first || !second) throw new Error('two versions were appended');
    await expect(versions.load({ ...second, document: first.document })).rejects.toMatchObject({
      code: 'blob_corrupt',
    });
  });

  it('name a document that rotted or is gone, and take neither', async () => {
    const { layout, versions } = await volume();
    const [first, second] = await versions.append([], [put(a), put(b)]);
    if (!first || !second) throw new Error('two versions were appended');
    const path = join(layout.routes, `${second.document}.json`);
    await writeFile(path, (await readFile(path, 'utf8')).replace('say beta', 'say bota'));
    await expect(versions.load(second)).rejects.toMatchObject({
      code: 'blob_corrupt',
      message: expect.stringContaining('version 2'),
    });
    await rm(join(layout.routes, `${first.document}.json`));
    await expect(versions.load(first)).rejects.toMatchObject({ code: 'blob_missing' });
    // Written again, the bad document is replaced.
    const next = await versions.append([first, second], [put(b)]);
    expect((await versions.load(second)).digest).toBe(b.digest);
    expect(next.at(-1)?.version).toBe(3);
  });

  it('fall back to the history before the last change when the last one is damaged', async () => {
    const { layout, versions } = await volume();
    const before = await versions.append([], [put(a), put(b)]);
    await versions.append(before, [put(a)]);
    const current = join(layout.routes, 'current.json');
    const text = await readFile(current, 'utf8');
    for (const damaged of [text.slice(0, 200), text.replace(/"version": 3/, '"version": 4'), '', '[]']) {
      await writeFile(current, damaged);
      expect(await versions.read()).toEqual({ history: before, problem: expect.stringMatching(/damaged/) });
    }
    await writeFile(join(layout.routes, 'previous.json'), 'x');
    expect(await versions.read()).toEqual({ history: [], problem: expect.stringMatching(/damaged/) });
  });

  it('are bounded, and what no history names any more is removed once it is old', async () => {
    const { layout, versions } = await volume();
    let history = await versions.append([], [put(setOf('first'))]);
    const [first] = history;
    await utimes(join(layout.routes, `${first?.document}.json`), 0, 0);
    for (let count = 0; count < VERSION_LIMITS.history + 2; count += 1) {
      history = await versions.append(history, [put(count % 2 === 0 ? a : b)]);
    }
    expect(history).toHaveLength(VERSION_LIMITS.history);
    expect(history.at(-1)?.version).toBe(VERSION_LIMITS.history + 3);
    expect((await readdir(layout.routes)).sort()).toEqual(
      [...new Set(history.map(({ document }) => `${document}.json`)), 'current.json', 'previous.json'].sort(),
    );
  });

  it('make room before a change, so that what failed ones left does not fill the volume for good', async () => {
    const { layout, versions } = await volume();
    const before = await versions.append([], [put(a)]);
    const history = await versions.append(before, [put(b)]);
    const left = join(layout.routes, `${'0'.repeat(64)}.json`);
    const young = join(layout.routes, `${'1'.repeat(64)}.json`);
    for (const path of [left, young]) await writeFile(path, 'x');
    await utimes(left, 0, 0);
    for (const { document } of history) await utimes(join(layout.routes, `${document}.json`), 0, 0);
    // As on a full volume: the document cannot be written.
    const changed = setOf('gamma');
    const unwritable = Object.defineProperty({ ...changed }, 'routes', {
      get: () => {
        throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      },
    });
    await expect(versions.append(history, [put(unwritable)])).rejects.toThrow(AppError);
    const names = await readdir(layout.routes);
    expect(names).not.toContain(basename(left));
    expect(names).toContain(basename(young));
    expect(await versions.read()).toEqual({ history });
    for (const entry of history) await versions.load(entry);
  });

  it('name what is wrong with a volume that cannot be written, and change nothing', async () => {
    const { layout, versions } = await volume();
    const history = await versions.append([], [put(a)]);
    await rm(layout.ingest, { recursive: true });
    await writeFile(layout.ingest, 'a file in the place of the folder');
    const failure = await versions.append(history, [put(b)]).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(AppError);
    expect(failure).toMatchObject({ code: 'volume_unavailable' });
    expect(await versions.read()).toEqual({ history });
  });
});

/** Appends versions as fast as it can, alternating two sets, until it is killed; writes a dot after each of them. */
const WRITER = `
  const { RouteVersions } = await import(process.argv[1] + '/routes/versions.ts');
  const { parseRouteSet } = await import(process.argv[1] + '/routes/parse.ts');
  const { layoutOf } = await import(process.argv[1] + '/cache/layout.ts');
  const versions = new RouteVersions(layoutOf(process.argv[2]));
  const sets = ['alpha', 'beta'].map((word) => parseRouteSet(JSON.stringify({ routes: [
    { name: word, utterances: Array.from({ length: 500 }, (_, i) => word + ' number ' + i) } ] }), { origin: 'x.json' }));
  let { history } = await versions.read();
  for (let i = history.length; ; i += 1) {
    const set = sets[i % 2];
    history = await versions.append(history, [{ set, action: 'replace', based_on: sets[0].digest }]);
    process.stdout.write('.');
  }
`;

describe('kill -9', () => {
  it('at any point leaves a whole history of whole documents', { timeout: 120_000 }, async () => {
    const { layout } = await volume();
    const ROUNDS = 7;
    let most = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const args = [
        '--import',
        'tsx',
        '--input-type=module',
        '-e',
        WRITER,
        join(process.cwd(), 'src'),
        layout.root,
      ];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      onTestFinished(() => void child.kill('SIGKILL'));
      let appended = 0;
      child.stdout.on('data', (dots: Buffer) => {
        appended += dots.length;
      });
      await once(child.stdout, 'data');
      // 'close': what it wrote before its end has been read.
      const ended = once(child, 'close');
      await sleep(5 + 23 * round);
      child.kill('SIGKILL');
      await ended;
      const versions = new RouteVersions(layoutOf(layout.root));
      const { history, problem } = await versions.read();
      expect(problem).toBeUndefined();
      for (const entry of history) expect((await versions.load(entry)).digest).toBe(entry.digest);
      // What was appended stays.
      expect(history.at(-1)?.version ?? 0).toBeGreaterThanOrEqual(most + appended);
      most = history.at(-1)?.version ?? 0;
    }
    expect(most).toBeGreaterThanOrEqual(ROUNDS);
    await new ContentStore(layout.root).sweep(new Set());
    expect(await readdir(layout.ingest)).toEqual([]);
  });
});
