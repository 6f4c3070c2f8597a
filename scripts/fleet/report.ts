import { setTimeout as sleep } from 'node:timers/promises';

export const say = (line: string): void => void process.stdout.write(`${line}\n`);

let failed = 0;
const rows: string[] = [];

/** Prints a result, and counts what failed. */
export function report(name: string, ok: boolean, facts: string): void {
  if (!ok) failed += 1;
  say(`${ok ? 'ok    ' : 'FAILED'} ${name}: ${facts}`);
}

/** Reports what `work` returns, or the message with which it fails. */
export async function attempt(name: string, work: () => Promise<string>): Promise<void> {
  await work().then(
    (facts) => report(name, true, facts),
    (error: unknown) => report(name, false, messageOf(error)),
  );
}

/** Keeps a row of the table that `conclude` prints. */
export const row = (...cells: readonly (string | number)[]): void =>
  void rows.push(`| ${cells.join(' | ')} |`);

/** Prints the table of the scenarios; returns the exit code. */
export function conclude(): number {
  if (rows.length > 0) {
    say('\n| scenario | seconds | requests | pods | failed | of the killed pod | p99 ms |');
    say(`|---|---:|---:|---:|---:|---:|---:|\n${rows.join('\n')}\n`);
  }
  say(failed === 0 ? 'all passed' : `${failed} failed`);
  return failed === 0 ? 0 : 1;
}

/** Standard error of a program, without the command line. */
export function messageOf(error: unknown): string {
  const { stderr } = error as { stderr?: unknown };
  return (typeof stderr === 'string' && stderr !== '' ? stderr : String(error)).trim().slice(-500);
}

/** Waits until `what` holds, and returns what it gave. */
export async function until<T>(
  name: string,
  what: () => T | Promise<T>,
  withinMs = 180_000,
): Promise<Exclude<T, false | undefined>> {
  for (const began = performance.now(); ; await sleep(100)) {
    const found = await what();
    if (found !== false && found !== undefined) return found as Exclude<T, false | undefined>;
    if (performance.now() - began > withinMs) throw new Error(`not within ${withinMs} ms: ${name}`);
  }
}
