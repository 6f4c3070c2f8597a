import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { ContentStore } from '../../src/cache/store.js';
import { RouteCatalogue } from '../../src/routes/catalogue.js';
import { parseRouteSet, withoutRoute, withRoute } from '../../src/routes/parse.js';
import type { RouteSet } from '../../src/routes/set.js';
import { RouteVersions } from '../../src/routes/versions.js';
import { AppError } from '../../src/shared/errors.js';
import { recordingLog, temporaryFolder } from '../support/volume.js';

function setOf(...names: string[]): RouteSet {
  const routes = names.map((name) => ({ name, utterances: [`say ${name}`, `${name} please`] }));
  return parseRouteSet(JSON.stringify({ routes }), { origin: 'test.json' });
}

const file = setOf('a', 'b');
const edited = setOf('a', 'b', 'c');
const signal = new AbortController().signal;

/** A volume, and daemons that boot on it: as far as routes go. */
async function house() {
  const store = new ContentStore(await temporaryFolder());
  await store.prepare();
  const { layout } = store;
  return {
    layout,
    boot: async (set: RouteSet = file, refused?: RouteSet) => {
      const log = recordingLog();
      const served: RouteSet[] = [];
      const world = { failure: undefined as Error | undefined, delayMs: 0 };
      const catalogue = new RouteCatalogue({
        versions: new RouteVersions(layout),
        log,
        serve: async (next, { commit }) => {
          await sleep(world.delayMs);
          if (world.failure) throw world.failure;
          if (next.digest === refused?.digest) throw new AppError('routes_invalid', 'a head needs more');
          await commit?.();
          served.push(next);
        },
      });
      await catalogue.follow(set, { signal });
      return { catalogue, log, served, world, now: () => catalogue.served?.set.digest };
    },
  };
}

const replace = (catalogue: RouteCatalogue, expected: RouteSet, next: RouteSet) =>
  catalogue.change([expected.digest], { action: 'replace' }, () => next);

describe('which routes are served', () => {
  it('is the file until they are changed, then the version, over any number of boots', async () => {
    const { boot } = await house();
    const first = await boot();
    expect(first.catalogue.served).toEqual({ set: file, version: undefined });
    await replace(first.catalogue, file, setOf('x'));
    for (let round = 0; round < 2; round += 1) {
      const next = await boot();
      expect(next.now()).toBe(setOf('x').digest);
      expect(next.catalogue.served?.version).toMatchObject({ version: 2, action: 'replace' });
      expect(next.served).toHaveLength(1);
    }
  });

  it('is the file again once it was edited, said aloud, and the version does not come back by itself', async () => {
    const { boot } = await house();
    const first = await boot();
    await replace(first.catalogue, file, setOf('x'));
    await first.catalogue.follow(edited, { signal });
    expect(first.now()).toBe(edited.digest);
    expect(first.log.lines).toContainEqual(
      expect.objectContaining({
        level: 'warn',
        message: expect.stringMatching(/differs.*version 2.*rollback/),
      }),
    );
    // Back to the old file: what the file says is what is served.
    await first.catalogue.follow(file, { signal });
    expect(first.now()).toBe(file.digest);
    expect((await boot(file)).now()).toBe(file.digest);
    // It is in the history, and a rollback brings it back.
    const { catalogue } = await boot(file);
    await catalogue.rollback([file.digest], 2);
    expect((await boot(file)).now()).toBe(setOf('x').digest);
  });

  it('is the file again when it was edited between two boots', async () => {
    const { boot } = await house();
    const first = await boot();
    await replace(first.catalogue, file, setOf('x'));
    const second = await boot(edited);
    expect(second.now()).toBe(edited.digest);
    expect(second.catalogue.history.map(({ action }) => action)).toEqual(['file', 'replace', 'file']);
    // The order in the file and comments are no edit.
    const third = await boot(
      parseRouteSet(JSON.stringify({ routes: [...edited.routes].reverse() }), { origin: 'r.json' }),
    );
    expect(third.catalogue.history).toHaveLength(3);
  });

  it('is the file where the settings of today refuse the version, which is named', async () => {
    const { boot } = await house();
    const first = await boot();
    await replace(first.catalogue, file, setOf('x'));
    const { catalogue, now } = await boot(file, setOf('x'));
    expect(now()).toBe(file.digest);
    expect(catalogue.served?.version).toBeUndefined();
    expect(catalogue.problem).toBe('version 2 cannot be served: a head needs more');
    expect(catalogue.history.map(({ action }) => action)).toEqual(['file', 'replace']);
    // A file that is refused itself has nothing behind it.
    await expect(boot(file, file)).resolves.toBeDefined();
    await expect(boot(edited, edited)).rejects.toMatchObject({ code: 'routes_invalid' });
  });

  it('stays when the same file is read again, even if the volume is gone', async () => {
    const { boot, layout } = await house();
    const { catalogue, now } = await boot();
    await replace(catalogue, file, setOf('x'));
    await rm(layout.routes, { recursive: true });
    await catalogue.follow(file, { signal });
    expect(now()).toBe(setOf('x').digest);
  });

  it('writes nothing without a change', async () => {
    const { boot, layout } = await house();
    const { catalogue } = await boot();
    await catalogue.follow(edited, { signal });
    expect(await new RouteVersions(layout).read()).toEqual({ history: [] });
  });
});

describe('a damaged version', () => {
  it('is named, and the last good one of the same file serves', async () => {
    const { boot, layout } = await house();
    const first = await boot();
    await replace(first.catalogue, file, setOf('x'));
    await replace(first.catalogue, setOf('x'), setOf('y'));
    const newest = first.catalogue.history.at(-1);
    const path = join(layout.routes, `${newest?.document}.json`);
    const good = await readFile(path);
    await writeFile(path, 'rot');
    const second = await boot();
    expect(second.now()).toBe(setOf('x').digest);
    expect(second.catalogue.problem).toMatch(/version 3.*corrupt/);
    // The next change is made of what serves, and ends the trouble.
    await replace(second.catalogue, setOf('x'), setOf('z'));
    expect(second.catalogue.problem).toBeUndefined();
    await writeFile(path, good);
    expect((await boot()).now()).toBe(setOf('z').digest);
  });

  it('leaves the file where there is no good one', async () => {
    const { boot, layout } = await house();
    const first = await boot();
    await replace(first.catalogue, file, setOf('x'));
    await rm(join(layout.routes, `${first.catalogue.history.at(-1)?.document}.json`));
    const second = await boot();
    expect(second.now()).toBe(file.digest);
    expect(second.catalogue.problem).toMatch(/version 2.*missing/);
    await writeFile(join(layout.routes, 'current.json'), '{');
    await rm(join(layout.routes, 'previous.json'), { force: true });
    const third = await boot();
    expect(third.now()).toBe(file.digest);
    expect(third.catalogue.problem).toMatch(/current\.json is damaged/);
  });
});

describe('changes', () => {
  it('of editors who began with the same set: one gets through, the others are told', async () => {
    const { boot } = await house();
    const { catalogue, world } = await boot();
    world.delayMs = 5;
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, index) =>
        catalogue.change([file.digest], { action: 'put', route: `r${index}` }, (set) =>
          withRoute(set, setOf(`r${index}`).routes[0] ?? raise()),
        ),
      ),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'precondition_failed' });
    }
    expect(catalogue.served?.set.routes).toHaveLength(3);
  });

  it('of a second daemon on the same volume are taken up, not written over', async () => {
    const { boot } = await house();
    const one = await boot();
    const two = await boot();
    await replace(one.catalogue, file, setOf('x'));
    await expect(replace(two.catalogue, file, setOf('y'))).rejects.toMatchObject({
      code: 'precondition_failed',
    });
    expect(two.now()).toBe(setOf('x').digest);
    await replace(two.catalogue, setOf('x'), setOf('y'));
    expect((await boot()).now()).toBe(setOf('y').digest);
  });

  it('that do not serve, or cannot be kept, leave everything as it was', async () => {
    const { boot, layout } = await house();
    const { catalogue, world, now } = await boot();
    world.failure = new AppError('worker_failed', 'no');
    await expect(replace(catalogue, file, setOf('x'))).rejects.toMatchObject({ code: 'worker_failed' });
    world.failure = undefined;
    await rm(layout.routes, { recursive: true });
    await writeFile(layout.routes, 'in the way');
    await expect(replace(catalogue, file, setOf('x'))).rejects.toMatchObject({ code: 'volume_unavailable' });
    expect(now()).toBe(file.digest);
    expect(catalogue.history).toEqual([]);
  });

  it('that change nothing are no version', async () => {
    const { boot } = await house();
    const { catalogue } = await boot();
    expect(await replace(catalogue, file, setOf('b', 'a'))).toMatchObject({ changed: false });
    expect(catalogue.history).toEqual([]);
  });

  it('are undone by a rollback, and redone by another one', async () => {
    const { boot } = await house();
    const { catalogue, now } = await boot();
    await replace(catalogue, file, setOf('x'));
    await replace(catalogue, setOf('x'), setOf('y'));
    await catalogue.rollback([setOf('y').digest]);
    expect(now()).toBe(setOf('x').digest);
    await catalogue.rollback([setOf('x').digest]);
    expect(now()).toBe(setOf('y').digest);
    await catalogue.rollback([setOf('y').digest], 1);
    // Back at what the file says: nothing of the volume is served.
    expect(catalogue.served).toMatchObject({ version: undefined });
    expect(catalogue.history.at(-1)).toMatchObject({ version: 6, action: 'rollback', restores: 1 });
    await expect(catalogue.rollback([file.digest], 77)).rejects.toMatchObject({ code: 'validation_failed' });
  });

  it('are refused once it is closed', async () => {
    const { boot } = await house();
    const { catalogue } = await boot();
    catalogue.close();
    await expect(replace(catalogue, file, setOf('x'))).rejects.toMatchObject({ code: 'draining' });
  });

  it('of single routes keep the order, and the last route', () => {
    const [route] = setOf('a').routes;
    expect(
      withRoute(edited, { ...(route ?? raise()), description: 'new' }).routes.map(({ name }) => name),
    ).toEqual(['a', 'b', 'c']);
    expect(withoutRoute(edited, 'b').routes.map(({ name }) => name)).toEqual(['a', 'c']);
    expect(() => withoutRoute(edited, 'bb')).toThrow(/no route "bb"; did you mean "b"/);
    expect(() => withoutRoute(setOf('a'), 'a')).toThrow(/at least one route/);
  });
});

function raise(): never {
  throw new Error('a set of one route has one');
}
