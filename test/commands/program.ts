import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Manifest } from '../../src/cache/manifest.js';
import { temporaryFolder } from '../support/volume.js';

/** How a command ended, and what it said. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that is running. */
export interface Running {
  readonly child: ChildProcess;
  /** What it has said on stderr so far. */
  stderr(): string;
  ended(): Promise<Ended>;
}

/** Nothing of the surroundings reaches a command but this. */
const BASE_ENV = { PATH: process.env.PATH, HOME: process.env.HOME, HF_HUB_OFFLINE: '1' };

/** Starts the compiled program with these arguments. */
export function start(args: readonly string[], env: Record<string, string> = {}): Running {
  const child = spawn(process.execPath, ['dist/main.js', ...args], {
    env: { ...BASE_ENV, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const closed = once(child, 'close');
  return {
    child,
    stderr: () => stderr,
    ended: async () => {
      await closed;
      return { code: child.exitCode, signal: child.signalCode, stdout, stderr };
    },
  };
}

/** Runs the compiled program to its end. */
export function run(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  return start(args, env).ended();
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
