import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Manifest } from '../../src/cache/manifest.js';
import { type Ended, type Running, startProgram } from '../support/run.js';
import { temporaryFolder } from '../support/volume.js';

/** Nothing of the surroundings reaches a command but this, and PATH. */
const BASE_ENV = { HOME: process.env.HOME, HF_HUB_OFFLINE: '1' };

/** Starts the compiled program with these arguments. */
export function start(args: readonly string[], env: Record<string, string> = {}): Running {
  const running = startProgram([process.execPath, 'dist/main.js', ...args], { ...BASE_ENV, ...env });
  onTestFinished(() => void running.child.kill('SIGKILL'));
  return running;
}

/** Runs the compiled program to its end. */
export function run(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  return start(args, env).ended;
}

/** Runs it with `--json`, and reads its one object. */
export async function runJson<T>(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Ended & { report: T }> {
  const ended = await run([...args, '--json'], env);
  return { ...ended, report: JSON.parse(ended.stdout) as T };
}

/** Writes a manifest to a file of its own. */
export async function manifestFile({ digest: _, ...manifest }: Manifest): Promise<string> {
  const file = join(await temporaryFolder(), 'manifest.json');
  await writeFile(file, JSON.stringify(manifest));
  return file;
}
