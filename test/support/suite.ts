import { afterAll } from 'vitest';

/**
 * Where a suite's `beforeAll` registers what has to be undone after its last test. To be called while the file
 * is collected: a hook that is registered by a running hook never runs.
 */
export function suiteEnd(): (undo: () => unknown) => void {
  const all: (() => unknown)[] = [];
  afterAll(async () => {
    for (const undo of all.reverse()) await undo();
  });
  return (undo) => void all.push(undo);
}
