#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PerformanceObserver } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** Handler of a signal; until there is a daemon to shut down, there is nothing to wait for. */
let onSignal = (_signal: NodeJS.Signals): void => process.exit(EXIT.ok);
process.on('SIGTERM', (signal) => onSignal(signal)).on('SIGINT', (signal) => onSignal(signal));

const packageJson = join(fileURLToPath(new URL('..', import.meta.url)), 'package.json');
const { version } = JSON.parse(readFileSync(packageJson, 'utf8')) as { version: string };

/** Writes to the terminal and ends the process. */
function finish(code: number, text: string): never {
  (code === EXIT.ok ? process.stdout : process.stderr).write(text.endsWith('\n') ? text : `${text}\n`);
  process.exit(code);
}

/** Between npx and the daemon stands a shell that passes no signal on: the daemon ends when that shell has ended. */
function endWithParent(): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onSignal('SIGTERM');
  }, 500).unref();
}

/**
 * Bytes to which V8's young generation may grow: two halves of 8 MB. One turn of the event loop that has several collections
 * can double that. Open requests hold 20 kB each; in less space V8 would take them for old.
 */
const YOUNG_GENERATION_BYTES = 2 * 8 * 2 ** 20;

/**
 * Bounds V8's young generation, which otherwise grows to 32 MB under load (128 MB from Node 24 on) and stays there. Its size
 * can be set only when a process starts, and this one is started in many ways; its growth can be set at any time.
 */
function boundYoungGeneration(): void {
  // A boot compiles so much in one turn that unbounded growth would reach the end at once.
  setFlagsFromString('--semi-space-growth-factor=1');
  new PerformanceObserver(() => {
    const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
    const mayGrow = (young?.space_size ?? 0) < YOUNG_GENERATION_BYTES;
    setFlagsFromString(`--semi-space-growth-factor=${mayGrow ? 2 : 1}`);
  }).observe({ entryTypes: ['gc'] });
}

async function serve(env: NodeJS.ProcessEnv = process.env): Promise<void> {
  if (env.npm_lifecycle_event === 'npx') endWithParent();
  boundYoungGeneration();
  // Loaded only now, so that a signal during the loading finds its handler.
  const { runDaemon } = await import('./daemon/daemon.js');
  await runDaemon(
    env,
    version,
    (code) => process.exit(code),
    (handler) => {
      onSignal = handler;
    },
  );
}

/** Runs one of the other commands; the first signal lets it end in good order, a second one ends it at once. */
async function runOther(name: string, args: readonly string[]): Promise<never> {
  const stop = new AbortController();
  let signalCode: number | undefined;
  onSignal = (signal) => {
    if (signalCode !== undefined) process.exit(signalCode);
    signalCode = signal === 'SIGINT' ? 130 : 143;
    stop.abort();
  };
  const { runCommand } = await import('./commands/cli.js');
  const code = await runCommand(name, args, {
    ...{ env: process.env, signal: stop.signal, version, serve },
  });
  return process.exit(signalCode ?? code);
}

const [name = 'serve', ...args] = process.argv.slice(2);
if (name === '--version' || name === '-v') finish(EXIT.ok, version);
if (name === '--help' || name === '-h')
  finish(EXIT.ok, (await import('./commands/cli.js')).helpText(version));
try {
  if (name === 'serve' && args.length === 0) await serve();
  else await runOther(name, args);
} catch (error) {
  const { AppError } = await import('./shared/errors.js');
  if (error instanceof AppError) finish(EXIT.usage, `ai-router: ${error.message}`);
  finish(EXIT.failed, error instanceof Error ? String(error.stack) : String(error));
}
