import { AppError, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import type { Outcome } from './command.js';

/**
 * Where a command's words go: what it found to stdout, as text or as one JSON object; what happens meanwhile to
 * stderr.
 */
export class Output {
  readonly #command: string;
  readonly #json: boolean;
  /** Called before a line on stderr, so that a progress bar can make room. */
  beforeNote: () => void = () => undefined;

  constructor(command: string, json: boolean) {
    this.#command = command;
    this.#json = json;
    // `ai-router status | head -1` closes the pipe early; that is no failure.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  }

  /** Whether one JSON object is wanted. */
  get json(): boolean {
    return this.#json;
  }

  /** Writes text to stdout. */
  print(text: string): void {
    const shown = withoutControls(text);
    process.stdout.write(shown.endsWith('\n') ? shown : `${shown}\n`);
  }

  /** Tells people something on the way. */
  note(text: string): void {
    this.beforeNote();
    process.stderr.write(`${withoutControls(text)}\n`);
  }

  /** Prints what a command found or did. */
  outcome({ ok, report, text }: Outcome): void {
    if (this.#json) this.#printJson({ ok, ...report });
    else if (text.length > 0) this.print(text.map((line) => withoutControls(line, '\n')).join('\n'));
  }

  /** Prints why a command could not be carried out. An unexpected error comes with its stack. */
  failure(error: unknown): void {
    const known = error instanceof AppError;
    if (this.#json) {
      const code = known ? error.code : 'internal';
      this.#printJson({ ok: false, error: { code, message: messageOf(error) } });
    }
    const unforeseen = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.note(`ai-router ${this.#command}: ${known ? error.message : unforeseen}`);
  }

  /** A log whose warnings and errors people see; what it logs as information is in the outcome anyway. */
  log(): Log {
    const told: string[] = [];
    const silent = (): void => undefined;
    const show = (details: object, message: string): void => {
      const { path, source, reason, message: detail } = details as Record<string, unknown>;
      const about = [source, path].filter((part) => typeof part === 'string').join(': ');
      // Without a file or a source, `reason` is why the verification ran.
      const why = [about === '' ? undefined : reason, detail].find((part) => typeof part === 'string');
      const line = [about, message, why].filter((part) => part !== undefined && part !== '').join(': ');
      // The cause of this line was shown by itself before.
      if (told.some((text) => line.endsWith(text))) return;
      told.push(line);
      this.note(line);
    };
    return { debug: silent, info: silent, warn: show, error: show };
  }

  #printJson(fields: object): void {
    this.print(JSON.stringify({ command: this.#command, ...fields }, null, 2));
  }
}

/**
 * Control characters as `\u001b`, but for line feeds and the colours of this program: utterances, names on a volume and words of
 * other servers could clear the screen of a reader, or fake a line. As JSON, the text stays what it was.
 * @param further characters that are escaped as well
 */
function withoutControls(text: string, further = ''): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/\u001b\[(?:[12]|22|3[0-79])m|[\u0000-\u001f\u007f-\u009f]/g, (found) =>
    found.length > 1 || (found === '\n' && further === '')
      ? found
      : `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
