import { type ParseArgsConfig, parseArgs } from 'node:util';

/** Options of a program, and the words that it takes: `false` none, a list these, `true` any. */
interface Accepted<Options extends NonNullable<ParseArgsConfig['options']>> {
  readonly options?: Options;
  readonly words?: boolean | readonly string[];
  /** Default: the process's. */
  readonly args?: readonly string[];
}

/** Parses a program's arguments. Prints its help where `--help` asks for it, and refuses what it does not know. */
export function commandLine<
  const Options extends NonNullable<ParseArgsConfig['options']> = Record<never, never>,
>(help: string, { options, words = false, args }: Accepted<Options> = {}) {
  const all = { ...(options as Options), help: { type: 'boolean', short: 'h' } } as const;
  try {
    const { values, positionals } = parseArgs({
      ...(args && { args: [...args] }),
      options: all,
      allowPositionals: words !== false,
    });
    if ((values as { help?: boolean }).help) {
      process.stdout.write(`${help.trim()}\n`);
      process.exit(0);
    }
    const unknown = typeof words === 'object' && positionals.find((word) => !words.includes(word));
    if (unknown) throw new Error(`"${unknown}" is none of ${(words as readonly string[]).join(', ')}`);
    return { values, words: positionals as readonly string[] };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${help.trim()}\n`);
    process.exit(2);
  }
}
