import { beforeAll, onTestFinished } from 'vitest';
import { type SpawnOptions, spawnDaemon, type TestDaemon } from './daemon-process.js';
import { killGroup } from './processes.js';
import { suiteEnd } from './suite.js';
import { temporaryFolder } from './volume.js';

export { type LogLine, PROGRAM, type TestDaemon } from './daemon-process.js';

/** Options of {@link startDaemon}. */
interface StartOptions extends Omit<SpawnOptions, 'onSpawn'> {
  /** Where the killing is registered; `suiteEnd()` for a daemon that serves a whole suite. */
  readonly atEnd?: (undo: () => void | Promise<void>) => void;
}

/**
 * Starts the compiled daemon on a free port and resolves once it listens. It is killed when the test ends. Where the
 * environment does not say otherwise, it has a volume of its own and asks no hub.
 */
export async function startDaemon(
  env: Readonly<Record<string, string>> = {},
  { atEnd = onTestFinished, ...options }: StartOptions = {},
): Promise<TestDaemon> {
  const needed = {
    ...(!('MODEL_CACHE_DIR' in env) && { MODEL_CACHE_DIR: await temporaryFolder(atEnd) }),
    ...(!('MODEL_SOURCES' in env) && { HF_HUB_OFFLINE: '1' }),
  };
  const onSpawn: SpawnOptions['onSpawn'] = (child) =>
    atEnd(() => (options.command ? killGroup(child) : void child.kill('SIGKILL')));
  return spawnDaemon({ ...needed, ...env }, { ...options, onSpawn });
}

/** Starts a daemon as {@link startDaemon}, and waits until it is ready. */
export async function servingDaemon(...args: Parameters<typeof startDaemon>): Promise<TestDaemon> {
  const daemon = await startDaemon(...args);
  await daemon.ready();
  return daemon;
}

/** Settings with which a daemon boots in half the time: a small route set that needs no training. */
export const SMALL = { ROUTES_FILE: 'routes/smart-home.json', CLASSIFY_METHOD: 'nearest' } as const;

type Settings = Readonly<Record<string, string>>;

/**
 * A daemon for all tests of a file or suite: ready before the first, killed after the last, and without properties until
 * then. A function makes its settings, with a folder that lives as long.
 */
export function useDaemon(env: Settings | ((folder: string) => Promise<Settings>) = {}): TestDaemon {
  const atEnd = suiteEnd();
  const daemon = {} as TestDaemon;
  beforeAll(async () => {
    const settings = typeof env === 'function' ? await env(await temporaryFolder(atEnd)) : env;
    Object.assign(daemon, await servingDaemon(settings, { atEnd }));
  });
  return daemon;
}
