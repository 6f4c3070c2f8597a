import { mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RouteFile, type RouteFileOptions } from '../../src/routes/file.js';
import type { RouteSet } from '../../src/routes/set.js';
import { AppError } from '../../src/shared/errors.js';
import { ENDLESS_MS, eventually } from '../support/eventually.js';

const yaml = (name: string) => `- { name: ${name}, utterances: [hello] }\n`;
/** Long polling: what is seen in time was seen by an event. */
const EVENTS_ONLY = { debounceMs: 30, pollMs: 600_000 };
const POLL_ONLY = { debounceMs: 30, pollMs: 40 };

describe('a route file', () => {
  let folder: string;
  let path: string;
  let applied: string[];
  let lines: { level: string; message: string }[];
  let apply: RouteFileOptions['apply'];
  let file: RouteFile | undefined;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'route-file-'));
    path = join(folder, 'routes.yaml');
    await writeFile(path, yaml('first'));
    applied = [];
    lines = [];
    apply = async (set: RouteSet) => {
      applied.push(set.routes[0]?.name ?? '');
    };
  });

  afterEach(async () => {
    await file?.close();
    file = undefined;
    await rm(folder, { recursive: true, force: true });
  });

  const log = (level: string) => (_fields: object, message: string) => void lines.push({ level, message });

  async function follow(options: Partial<RouteFileOptions> = EVENTS_ONLY): Promise<RouteFile> {
    file = new RouteFile({
      path,
      apply: (set, stop) => apply(set, stop),
      log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
      ...options,
    });
    await file.start();
    return file;
  }

  /** Changes the file until that is seen: a watch begins some moments after it was asked for, silently. */
  async function firstChange(change: () => Promise<void>, name: string): Promise<void> {
    await eventually(
      async () => {
        await change();
        expect(applied.at(-1)).toBe(name);
      },
      { every: 200 },
    );
  }

  /** Changes the file, and waits until that was seen and came to an end. */
  async function afterALook(routes: RouteFile, change: () => Promise<void>): Promise<void> {
    await change();
    await eventually(() => expect(routes.status().loading).toBe(true), { every: 1 });
    await eventually(() => expect(routes.status().loading).toBe(false));
  }

  const untilApplied = (name: string): Promise<void> => eventually(() => expect(applied.at(-1)).toBe(name));

  it('is loaded at the start and knows what it loaded', async () => {
    const routes = await follow();
    expect(applied).toEqual(['first']);
    expect(routes.status()).toEqual({
      file: 'routes.yaml',
      digest: expect.stringMatching(/^sha256:/),
      loadedAt: expect.any(Date),
      loading: false,
      error: undefined,
    });
  });

  it('fails at the start when it is broken, missing, a folder or not text', async () => {
    const start = () =>
      new RouteFile({ path, apply, log: { debug() {}, info() {}, warn() {}, error() {} } }).start();
    await writeFile(path, 'routes: []\n');
    await expect(start()).rejects.toMatchObject({
      code: 'routes_invalid',
      message: expect.stringMatching(/^routes\.yaml:1:9: /),
    });
    await writeFile(path, Buffer.of(0xff, 0xfe, 0x00));
    await expect(start()).rejects.toThrow('routes.yaml: is not UTF-8 text');
    await unlink(path);
    await expect(start()).rejects.toThrow('routes.yaml: does not exist');
    await mkdir(path);
    await expect(start()).rejects.toThrow('routes.yaml: is not a file');
  });

  it('is applied again by another start, also one after a failure', async () => {
    await writeFile(path, 'routes: []\n');
    file = new RouteFile({
      path,
      apply,
      log: { debug() {}, info() {}, warn() {}, error() {} },
      ...POLL_ONLY,
    });
    await expect(file.start()).rejects.toMatchObject({ code: 'routes_invalid' });
    await expect(file.start()).rejects.toMatchObject({ code: 'routes_invalid' });
    await writeFile(path, yaml('second'));
    await file.start();
    await file.start();
    expect(applied).toEqual(['second', 'second']);
  });

  it.each([
    ['events', EVENTS_ONLY],
    ['polling', POLL_ONLY],
  ])(
    'is loaded again when written in place, renamed over, removed and put back (%s)',
    async (_by, options) => {
      const routes = await follow(options);
      await firstChange(() => writeFile(path, yaml('second')), 'second');
      await writeFile(`${path}.swp`, yaml('third'));
      await rename(`${path}.swp`, path);
      await untilApplied('third');
      await unlink(path);
      await eventually(() => expect(routes.status().error?.message).toBe('routes.yaml: does not exist'));
      expect(applied.at(-1)).toBe('third');
      await writeFile(path, yaml('third'));
      await eventually(() => expect(routes.status().error).toBeUndefined());
      // The file that was put back is watched anew.
      await firstChange(() => writeFile(path, yaml('fourth')), 'fourth');
      expect(applied).toEqual(['first', 'second', 'third', 'fourth']);
    },
  );

  it('is loaded again when the link that leads to it is swapped, as a mounted ConfigMap does', async () => {
    await unlink(path);
    for (const version of ['1', '2']) {
      await mkdir(join(folder, `..v${version}`));
      await writeFile(join(folder, `..v${version}`, 'routes.yaml'), yaml(`version${version}`));
    }
    await symlink('..v1', join(folder, '..data'));
    await symlink(join('..data', 'routes.yaml'), path);
    await follow();
    expect(applied).toEqual(['version1']);
    await firstChange(async () => {
      await symlink('..v2', join(folder, '..data_tmp'));
      await rename(join(folder, '..data_tmp'), join(folder, '..data'));
      await rm(join(folder, '..v1'), { recursive: true, force: true });
    }, 'version2');
  });

  it('is refused with its line when broken, once; the old set stays, and a mended file is taken', async () => {
    const routes = await follow(POLL_ONLY);
    const { digest } = routes.status();
    await writeFile(path, '- name: x\n  utterances: []\n');
    await eventually(() => expect(routes.status().error).toBeDefined());
    expect(routes.status()).toMatchObject({
      digest,
      error: {
        code: 'routes_invalid',
        message: expect.stringMatching(/^routes\.yaml:2:15: utterances: /),
        issues: [expect.objectContaining({ path: 'routes[0].utterances', line: 2 })],
      },
    });
    await afterALook(routes, () => writeFile(path, '- name: x\n  utterances: []\n'));
    expect(lines.filter(({ level }) => level === 'error')).toHaveLength(1);
    await writeFile(path, yaml('mended'));
    await untilApplied('mended');
    await eventually(() => expect(routes.status().error).toBeUndefined());
    expect(applied).toEqual(['first', 'mended']);
  });

  it('is not applied again when only touched', async () => {
    const routes = await follow(POLL_ONLY);
    await afterALook(routes, () => writeFile(path, yaml('first')));
    expect(applied).toEqual(['first']);
  });

  it('aborts an apply when it changes again, and never applies twice at once', async () => {
    let underway = 0;
    let aborted = 0;
    const finished: string[] = [];
    const routes = await follow(POLL_ONLY);
    apply = async (set, { signal }) => {
      underway += 1;
      expect(underway).toBe(1);
      try {
        await sleep(set.routes[0]?.name === 'slow' ? ENDLESS_MS : 1, undefined, { signal });
        finished.push(set.routes[0]?.name ?? '');
      } catch (error) {
        aborted += 1;
        throw error;
      } finally {
        underway -= 1;
      }
    };
    await writeFile(path, yaml('slow'));
    await eventually(() => expect(underway).toBe(1));
    expect(routes.status().loading).toBe(true);
    await writeFile(path, yaml('quick'));
    await eventually(() => expect(finished).not.toEqual([]));
    expect([finished, aborted]).toEqual([['quick'], 1]);
    expect(routes.status().error).toBeUndefined();
  });

  it('tries again after a failure that may pass', async () => {
    const routes = await follow({ ...POLL_ONLY, retryMs: 60 });
    const good = apply;
    apply = async () => {
      throw new AppError('worker_failed', 'died', { retryable: true });
    };
    await writeFile(path, yaml('second'));
    await eventually(() => expect(routes.status().error?.code).toBe('worker_failed'));
    apply = good;
    await untilApplied('second');
    await eventually(() => expect(routes.status().error).toBeUndefined());
  });

  it('ends an apply when closed, and follows no longer', async () => {
    const routes = await follow(POLL_ONLY);
    const steps: string[] = [];
    apply = (_set, { signal }) => {
      steps.push('begun');
      return sleep(ENDLESS_MS, undefined, { signal }).finally(() => void steps.push('ended'));
    };
    await writeFile(path, yaml('second'));
    await eventually(() => expect(steps).toEqual(['begun']));
    await routes.close();
    expect(steps).toEqual(['begun', 'ended']);
    const later: string[] = [];
    await follow({ ...POLL_ONLY, apply: async ({ routes: [route] }) => void later.push(route?.name ?? '') });
    await writeFile(path, yaml('third'));
    await eventually(() => expect(later).toEqual(['second', 'third']));
    expect(applied).toEqual(['first']);
  });
});
