import { onTestFinished } from 'vitest';
import { type SpawnOptions, spawnDaemon, type TestDaemon } from './daemon-process.js';

export { type LogLine, PROGRAM, type TestDaemon } from './daemon-process.js';

/**
 * Starts the compiled daemon on a free port with the given environment, and resolves once it listens.
 * It is killed when the test ends.
 */
export function startDaemon(
  env: Record<string, string>,
  options: Omit<SpawnOptions, 'onSpawn'> & {
    /** Where the killing is registered; `suiteEnd()` for a daemon that serves a whole suite. */
    atEnd?: (kill: () => void) => void;
  } = {},
): Promise<TestDaemon> {
  const { atEnd = onTestFinished, ...rest } = options;
  return spawnDaemon(env, { ...rest, onSpawn: (child) => atEnd(() => void child.kill('SIGKILL')) });
}
