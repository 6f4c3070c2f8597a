import { type ParseArgsConfig, parseArgs } from 'node:util';
import { statOf } from '../cache/disk.js';
import { type Config, readConfig } from '../config/config.js';
import { didYouMean } from '../shared/closest.js';
import { AppError, messageOf } from '../shared/errors.js';
import { Output } from './output.js';

/** Exit codes of every command. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** One flag of a command. */
export interface OptionSpec {
  /** The placeholder of its value in the help; a flag without one is a switch. */
  readonly value?: string;
  readonly multiple?: true;
  readonly help: string;
  /** The setting that this flag overrides, checked as that setting is; the help names it. */
  readonly env?: string;
}

/** The flags of a command, by their names without the dashes. */
export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

type ValueOf<O extends OptionSpec> = O extends { value: string }
  ? O extends { multiple: true }
    ? readonly string[]
    : string
  : boolean;

/** The given value of each flag. */
export type Values<O extends OptionSpecs> = { readonly [Name in keyof O]: ValueOf<O[Name]> | undefined };

/** The input of a command. */
export interface Call<O extends OptionSpecs> {
  readonly values: Values<O>;
  readonly positionals: readonly string[];
  /** The environment, with the flags that override settings in it. */
  readonly env: NodeJS.ProcessEnv;
  readonly config: Config;
  readonly output: Output;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  readonly version: string;
}

/** The result of a command: `ok` decides the exit status; the rest is printed in one of two ways. */
export interface Outcome {
  readonly ok: boolean;
  /** For `--json`: the object's fields, in snake_case. */
  readonly report: object;
  /** For people. */
  readonly text: readonly string[];
}

/** Everything about a command. */
export interface CommandSpec<O extends OptionSpecs> {
  readonly name: string;
  /** Its operands: `<org/name>@<revision>`, `[URL|DIR]`. */
  readonly operands?: string;
  /** Minimum and maximum number of operands. Default: none. */
  readonly operandCount?: readonly [min: number, max: number];
  readonly options: O;
  /** Further paragraphs of its help. */
  readonly notes?: string;
  /** The meaning of 0 and 1. */
  readonly exitStatus: string;
  run(call: Call<O>): Promise<Outcome>;
}

export interface CommandContext {
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
  readonly version: string;
  /** The command in one line, as the list of commands has it. */
  readonly summary: string;
  /** Runs the daemon; resolves when it listens. */
  readonly serve: (env: NodeJS.ProcessEnv) => Promise<void>;
}

export interface Command {
  readonly name: string;
  help(summary: string): string;
  /** Reads the arguments, runs, prints, and returns the exit code. */
  run(args: readonly string[], context: CommandContext): Promise<number>;
}

const COMMON = {
  json: { help: 'print one JSON object on stdout' },
  help: { help: 'print this text' },
} as const satisfies OptionSpecs;

/** Flags of the settings of the cache. */
export const CACHE_OPTIONS = {
  'cache-dir': { value: 'DIR', help: 'the cache folder', env: 'MODEL_CACHE_DIR' },
  manifest: { value: 'FILE', help: 'the manifest', env: 'MODEL_MANIFEST' },
  variant: {
    value: 'q8|q8-dynamic|fp32',
    help: 'the built-in manifest of this variant',
    env: 'MODEL_VARIANT',
  },
} as const satisfies OptionSpecs;

/** Flags of the settings of the sources. */
export const SOURCE_OPTIONS = {
  sources: { value: 'LIST', help: 'bundled, mirror, hub in the wanted order', env: 'MODEL_SOURCES' },
  mirrors: { value: 'URLS', help: 'mirrors', env: 'MODEL_MIRRORS' },
} as const satisfies OptionSpecs;

/** Makes a command out of its description. */
export function command<const O extends OptionSpecs>(spec: CommandSpec<O>): Command {
  const help = (summary: string): string => helpOf(spec, summary);

  async function run(
    args: readonly string[],
    { env, signal, version, summary }: CommandContext,
  ): Promise<number> {
    const output = new Output(spec.name, args.includes('--json'));
    try {
      const { values, positionals } = read(spec, args);
      if (values.help === true) {
        output.print(help(summary));
        return EXIT.ok;
      }
      const overlaid = overlay(spec.options, values, env);
      const config = readFlagged(spec.options, values, overlaid);
      // The values were read by this very table of options.
      const typed = values as Values<O>;
      const outcome = await spec.run({
        values: typed,
        positionals,
        env: overlaid,
        config,
        output,
        signal,
        version,
      });
      output.outcome(outcome);
      return outcome.ok ? EXIT.ok : EXIT.failed;
    } catch (error) {
      output.failure(
        signal.aborted ? new AppError('aborted', 'stopped by a signal', { cause: error }) : error,
      );
      return isUsage(error) ? EXIT.usage : EXIT.failed;
    }
  }
  return { name: spec.name, help, run };
}

/** Wrong usage, which ends a command with {@link EXIT.usage}. */
export function usageFault(message: string): AppError {
  return new AppError('config_invalid', message);
}

/** @throws AppError `volume_unavailable` for a cache folder that does not exist, which a command only looks at */
export async function requireFolder(folder: string): Promise<void> {
  const stat = await statOf(folder);
  // A link to a folder is one.
  if (stat && !stat.isFile()) return;
  if (stat) throw usageFault(`${folder} is a file, not a cache folder`);
  throw new AppError('volume_unavailable', `${folder} does not exist; "ai-router pull" makes and fills it`);
}

/** Reads a flag that is a number of seconds; returns milliseconds. @throws AppError for wrong usage */
export function seconds(flag: string, text: string | undefined, fallback: number): number {
  const value = Number(text ?? fallback);
  if (!(value > 0 && value <= 86_400)) throw usageFault(`--${flag} must be a number of seconds above 0`);
  return value * 1_000;
}

type RawValues = Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;

function read(
  { name, options, operandCount: [min, max] = [0, 0], operands }: CommandSpec<OptionSpecs>,
  args: readonly string[],
): { values: RawValues; positionals: readonly string[] } {
  const config: ParseArgsConfig['options'] = {};
  for (const [flag, { value, multiple }] of Object.entries<OptionSpec>({ ...options, ...COMMON })) {
    const type = value === undefined ? 'boolean' : 'string';
    config[flag] = { type, ...(multiple && { multiple }), ...(flag === 'help' && { short: 'h' }) };
  }
  let parsed: { values: RawValues; positionals: readonly string[] };
  try {
    parsed = parseArgs({ args: [...args], options: config, allowPositionals: true });
  } catch (cause) {
    throw usageFault(
      `${optionFault(messageOf(cause), { ...options, ...COMMON })}\nTry: ai-router ${name} --help`,
    );
  }
  const { length } = parsed.positionals;
  if (parsed.values.help !== true && (length < min || length > max)) {
    throw usageFault(`${operandFault(name, operands, parsed.positionals)}\nTry: ai-router ${name} --help`);
  }
  return parsed;
}

/** Explains an error of `parseArgs` in the words of the help. */
function optionFault(message: string, options: OptionSpecs): string {
  const [, flag = ''] = /'(?:-\w, )?(-[^' ]*)/.exec(message) ?? [];
  const name = flag.replace(/^--?/, '');
  const known = options[name];
  if (!known) {
    const near = didYouMean(name, Object.keys(options)).replaceAll('"', '');
    return `there is no option ${flag}${near.replace(/(mean|or) (?=\S)/g, '$1 --')}`;
  }
  return known.value === undefined
    ? `--${name} takes no value`
    : `--${name} needs a value: --${name} ${known.value}`;
}

function operandFault(name: string, operands: string | undefined, given: readonly string[]): string {
  if (operands === undefined) return `takes no operands, but got ${given.join(' ')}`;
  return given.length === 0
    ? `needs an operand: ai-router ${name} ${operands}`
    : `takes ${operands}, but got ${given.join(' ')}`;
}

function overlay(options: OptionSpecs, values: RawValues, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const overlaid = { ...env };
  for (const [flag, spec] of Object.entries(options)) {
    const value = values[flag];
    if (spec.env !== undefined && typeof value === 'string') overlaid[spec.env] = value;
  }
  // "--variant" beside a MODEL_MANIFEST of the environment means the variant.
  if (typeof values.variant === 'string' && values.manifest === undefined && options.variant?.env) {
    delete overlaid.MODEL_MANIFEST;
  }
  return overlaid;
}

/** Reads the settings; what is wrong with one that a flag gave is said of the flag. @throws AppError `config_invalid` */
function readFlagged(options: OptionSpecs, values: RawValues, env: NodeJS.ProcessEnv): Config {
  try {
    return readConfig(env);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const given = Object.entries(options).filter(([flag, spec]) => spec.env && values[flag] !== undefined);
    const message = given.reduce(
      (text, [flag, spec]) => text.replace(`\n  ${spec.env} `, `\n  --${flag} `),
      error.message,
    );
    throw new AppError(error.code, message, { issues: error.issues });
  }
}

function isUsage(error: unknown): boolean {
  return (
    error instanceof AppError &&
    (error.code === 'config_invalid' || error.code === 'manifest_invalid' || error.code === 'routes_invalid')
  );
}

function helpOf(
  { name, operands, options, notes, exitStatus }: CommandSpec<OptionSpecs>,
  summary: string,
): string {
  const rows = Object.entries<OptionSpec>({ ...options, ...COMMON }).map(
    ([flag, { value, help, env, multiple }]) => [
      `${flag === 'help' ? '-h, ' : ''}--${flag}${value === undefined ? '' : ` ${value}`}`,
      `${help}${env === undefined ? '' : `, instead of ${env}`}${multiple ? '; may be repeated' : ''}`,
    ],
  );
  const width = Math.max(...rows.map(([left = '']) => left.length)) + 2;
  const table = rows.map(([left = '', right]) => `  ${left.padEnd(width)}${right}`).join('\n');
  const usage = ['ai-router', name, '[options]', operands].filter((word) => word !== undefined).join(' ');
  return `ai-router ${name}: ${summary}

Usage: ${usage}

${table}
${notes === undefined ? '' : `\n${notes}\n`}
The settings of the daemon apply as well: ai-router help settings lists them.

Exit status: ${exitStatus}; 2 for wrong usage or settings; 130 or 143 when a signal ended it.
`;
}
