import { defaultTextOf } from '../config/config.js';
import { RETIRED_COMMANDS, SETTINGS, type Setting } from '../config/settings.js';
import type { Command, CommandContext } from './command.js';

/** Exit codes of wrong usage and of help. */
const EXIT = { ok: 0, usage: 2 } as const;

/** A command: its line in `--help`, and its code, loaded only when it runs. */
interface Entry {
  readonly summary: string;
  load(context: Pick<CommandContext, 'serve'>): Promise<Command>;
}

/** Every command, in the order of `--help`. */
const COMMANDS: Readonly<Record<string, Entry>> = {
  serve: {
    summary: 'start the daemon; so does ai-router without a command',
    load: async ({ serve }) => (await import('./serve.js')).serve(serve),
  },
  pull: {
    summary: 'fill the cache folder with the verified files of the model',
    load: async () => (await import('./pull.js')).pull,
  },
  verify: {
    summary: 'check every pinned file in the cache folder; --repair fetches bad ones again',
    load: async () => (await import('./verify.js')).verify,
  },
  status: {
    summary: 'show the contents of a cache folder, or the status of a running daemon (URL)',
    load: async () => (await import('./status.js')).status,
  },
  prune: {
    summary: 'remove files that no kept manifest names',
    load: async () => (await import('./prune.js')).prune,
  },
  pin: {
    summary: 'write the manifest that pins a model',
    load: async () => (await import('./pin/pin.js')).pin,
  },
  doctor: {
    summary: 'find common deployment problems and name the fix',
    load: async () => (await import('./doctor/doctor.js')).doctor,
  },
  lint: {
    summary: 'check a routes file: overlaps, outliers, duplicates, small routes',
    load: async () => (await import('./lint.js')).lint,
  },
  eval: {
    summary: 'measure routes on labelled texts: accuracy, abstentions, calibration',
    load: async () => (await import('./eval.js')).evaluate,
  },
};

/** Runs a command and returns its exit code. */
export async function runCommand(
  name: string,
  args: readonly string[],
  context: Omit<CommandContext, 'summary'>,
): Promise<number> {
  if (name === 'help') return explain(args, context);
  const entry = COMMANDS[name];
  if (!entry) return usage(await unknownCommand(name));
  return (await entry.load(context)).run(args, { ...context, summary: entry.summary });
}

/** `help` and `help <command>`. */
async function explain(args: readonly string[], context: Omit<CommandContext, 'summary'>): Promise<number> {
  const unknown = args.find((arg) => arg.startsWith('-') && !['--help', '-h', '--json'].includes(arg));
  if (unknown !== undefined) return usage(`unknown option "${unknown}"`);
  const [name] = args.filter((arg) => !arg.startsWith('-'));
  const entry = name === undefined ? undefined : COMMANDS[name];
  if (name !== undefined && name !== 'settings' && !entry) return usage(await unknownCommand(name));
  const overview = name === 'settings' ? settingsText() : helpText(context.version);
  const text = entry ? (await entry.load(context)).help(entry.summary) : overview;
  process.stdout.write(
    args.includes('--json') ? `${JSON.stringify(helpReport(name, text), null, 2)}\n` : text,
  );
  return EXIT.ok;
}

function helpReport(name: string | undefined, text: string): object {
  if (name !== undefined && name !== 'settings') return { command: name, text };
  return {
    commands: Object.entries(COMMANDS).map(([command, { summary }]) => ({ command, summary })),
    settings: settingRows().map(([name, help, text]) => ({ name, help, default: text })),
  };
}

/** Name, help and default of each setting, without the quotes that the pages have. */
function settingRows(): [name: string, help: string, text: string][] {
  const plain = (text: string): string => text.replaceAll('`', '');
  return Object.values<Setting<unknown>>(SETTINGS).map((setting) => [
    setting.env,
    plain(setting.help),
    plain(defaultTextOf(setting)),
  ]);
}

async function unknownCommand(name: string): Promise<string> {
  if (name.startsWith('-')) return `unknown option "${name}"`;
  const retired = RETIRED_COMMANDS.find((command) => command.name === name);
  if (retired) return `the command "${name}" is gone: ${retired.successor}`;
  // Loaded only now: help does without.
  const { didYouMean } = await import('../shared/closest.js');
  return `there is no command "${name}"${didYouMean(name, Object.keys(COMMANDS))}`;
}

function usage(message: string): number {
  process.stderr.write(`ai-router: ${message}\nTry: ai-router --help\n`);
  return EXIT.usage;
}

function settingsText(): string {
  const settings = settingRows();
  const width = Math.max(...settings.map(([name]) => name.length)) + 2;
  const rows = settings.map(
    ([name, help, text]) => `  ${name.padEnd(width)}${help}\n  ${' '.repeat(width)}default: ${text}`,
  );
  return `Settings are environment variables; all of them are checked before the daemon listens.

${rows.join('\n')}
`;
}

export function helpText(version: string): string {
  const commands = Object.entries(COMMANDS).map(
    ([name, { summary }]) => `       ai-router ${name.padEnd(12)} ${summary}`,
  );
  return `ai-router ${version}: classifies text over HTTP with a verified, self-healing model cache

Usage:
${commands.join('\n')}
       ai-router help COMMAND, or ai-router COMMAND --help: options and exit codes; all take --json
       ai-router help settings: all settings, which are environment variables
       ai-router --version    print the version

Exit status: 0 after SIGTERM or SIGINT, 1 after an unexpected error, 2 for wrong usage or settings.
`;
}
