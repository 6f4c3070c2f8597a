import { helpText } from '../config/help.js';
import type { Command, CommandContext } from './command.js';
import { EXIT } from './command.js';

/** The commands besides `serve`, each loaded only when it is asked for. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  pull: async () => (await import('./pull.js')).pull,
  verify: async () => (await import('./verify.js')).verify,
  status: async () => (await import('./status.js')).status,
  prune: async () => (await import('./prune.js')).prune,
  pin: async () => (await import('./pin/pin.js')).pin,
  lint: async () => (await import('./lint.js')).lint,
  eval: async () => (await import('./eval.js')).evaluate,
  drill: async () => (await import('./drill.js')).drill,
  doctor: async () => (await import('./doctor/doctor.js')).doctor,
};

/**
 * Runs a command and returns its exit code. `serve` is not among them: the daemon has a life of its own.
 */
export async function runCommand(
  name: string,
  args: readonly string[],
  context: CommandContext,
): Promise<number> {
  if (name === 'help' || name === 'serve')
    return explain(name === 'help' ? (args[0] ?? 'serve') : name, args, context);
  const load = COMMANDS[name];
  if (!load)
    return refuse(name.startsWith('-') ? `unknown option "${name}"` : `there is no command "${name}"`);
  return (await load()).run(args, context);
}

/** `help`, `help <command>` and `serve --help`. */
async function explain(name: string, args: readonly string[], { version }: CommandContext): Promise<number> {
  const unknown = args.find((arg) => arg.startsWith('-') && arg !== '--help' && arg !== '-h');
  if (unknown !== undefined) return refuse(`unknown option "${unknown}"`);
  const load = COMMANDS[name];
  if (load) {
    process.stdout.write((await load()).help());
    return EXIT.ok;
  }
  if (name !== 'serve') return refuse(`there is no command "${name}"`);
  if (args.some((arg) => !arg.startsWith('-') && arg !== name)) return refuse('serve takes no operands');
  process.stdout.write(helpText(version));
  return EXIT.ok;
}

function refuse(message: string): number {
  process.stderr.write(`ai-router: ${message}\nTry: ai-router --help\n`);
  return EXIT.usage;
}
