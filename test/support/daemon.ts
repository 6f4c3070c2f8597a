import { onTestFinished } from 'vitest';
import { type SpawnOptions, spawnDaemon, type TestDaemon } from './daemon-process.js';
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
  const onSpawn: SpawnOptions['onSpawn'] = (child) => atEnd(() => void child.kill('SIGKILL'));
  return spawnDaemon({ ...needed, ...env }, { ...options, onSpawn });
}

/** Starts a daemon as {@link startDaemon}, and waits until it is ready. */
export async function servingDaemon(...args: Parameters<typeof startDaemon>): Promise<TestDaemon> {
  const daemon = await startDaemon(...args);
  await daemon.ready();
  return daemon;
}
