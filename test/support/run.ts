import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';

/** How a program ended, and its output. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that is running. */
export interface Running {
  readonly child: ChildProcess;
  /** Its stderr so far. */
  stderr(): string;
  readonly ended: Promise<Ended>;
}

/** Starts a program, with nothing of the surroundings but PATH. */
export function startProgram(
  [program = process.execPath, ...args]: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  cwd = '.',
): Running {
  const child = spawn(program, args, {
    cwd,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  const ended = once(child, 'close').then(() => ({
    code: child.exitCode,
    signal: child.signalCode,
    ...output,
  }));
  return { child, stderr: () => output.stderr, ended };
}

/** Runs a program to its end in this folder; it ends with the test. */
export function runFrom(
  cwd: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  program = process.execPath,
): Promise<Ended> {
  const { child, ended } = startProgram([program, ...args], env, cwd);
  onTestFinished(() => void child.kill('SIGKILL'));
  return ended;
}
