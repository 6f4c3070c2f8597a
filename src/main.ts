#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** What a signal does; until there is a daemon to shut down, there is nothing to wait for. */
let onSignal = (_signal: NodeJS.Signals): void => process.exit(EXIT.ok);
process.on('SIGTERM', (signal) => onSignal(signal)).on('SIGINT', (signal) => onSignal(signal));

const packageJson = join(fileURLToPath(new URL('..', import.meta.url)), 'package.json');
const { version } = JSON.parse(readFileSync(packageJson, 'utf8')) as { version: string };

/** Writes to the terminal and ends the process. */
function finish(code: number, text: string): never {
  (code === EXIT.ok ? process.stdout : process.stderr).write(text.endsWith('\n') ? text : `${text}\n`);
  process.exit(code);
}

function readArguments(): { help: boolean; version: boolean; command: string } {
  try {
    const { values, positionals } = parseArgs({
      options: { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean', short: 'v' } },
      allowPositionals: true,
    });
    return {
      help: values.help ?? false,
      version: values.version ?? false,
      command: positionals.join(' ') || 'serve',
    };
  } catch (error) {
    return finish(EXIT.usage, `ai-router: ${(error as Error).message}\nTry: ai-router --help`);
  }
}

async function serve(): Promise<void> {
  // Loaded only now, so that a signal during the loading finds its handler.
  const { startDaemon } = await import('./daemon.js');
  const daemon = await startDaemon(process.env, version, (code) => process.exit(code));
  onSignal = daemon.stop;
  await daemon.start();
}

const args = readArguments();
if (args.version) finish(EXIT.ok, version);
if (args.help) finish(EXIT.ok, (await import('./help.js')).helpText(version));
if (args.command !== 'serve') {
  finish(EXIT.usage, `ai-router: there is no command "${args.command}"\nTry: ai-router --help`);
}
try {
  await serve();
} catch (error) {
  const { AppError } = await import('./errors.js');
  if (error instanceof AppError) finish(EXIT.usage, `ai-router: ${error.message}`);
  finish(EXIT.failed, error instanceof Error ? String(error.stack) : String(error));
}
