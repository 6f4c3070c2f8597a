import { type Logger, pino } from 'pino';
import type { Config } from '../config/config.js';

/** Lines wait until they are so many characters, or until the first of them is so old in ms, and are written together. */
const BUFFER = { chars: 16_000, ms: 50 } as const;

/** A logger and the way to get its last lines out before the process ends. */
export interface ProcessLogger {
  readonly log: Logger;
  flush(): void;
}

/**
 * Logs to stdout: one JSON object a line with every field, or for people on a terminal one line of text. Writing is asynchronous, so that a slow
 * reader never holds up a request; a reader that goes away ends the logging, not the daemon.
 */
export async function createLogger(config: Pick<Config, 'logLevel' | 'logFormat'>): Promise<ProcessLogger> {
  const options = { level: config.logLevel, base: null, messageKey: 'msg' };
  const pretty = config.logFormat === 'pretty' || (config.logFormat === 'auto' && process.stdout.isTTY);
  if (pretty) {
    const { default: prettyStream } = await import('pino-pretty');
    const stream = prettyStream({
      translateTime: 'SYS:HH:MM:ss.l',
      // Everything is in the one line of the message.
      messageFormat: (line) => terminalText(line),
      customColors: 'message:reset',
      ...{ hideObject: true, ignore: 'pid', sync: true },
    });
    const terminal = { write: (line: string) => void stream.write(harmless(line)) };
    return { log: pino(options, terminal), flush: () => undefined };
  }
  const destination = pino.destination({ dest: 1, sync: false });
  // Counting the bytes of all that waits is the destination's way to buffer: with each line, that is half of a line's cost.
  let lines = '';
  let timer: NodeJS.Timeout | undefined;
  const send = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (lines !== '') destination.write(lines);
    lines = '';
  };
  const write = (line: string): void => {
    lines += line;
    if (lines.length >= BUFFER.chars) send();
    else timer ??= setTimeout(send, BUFFER.ms).unref();
  };
  let broken = false;
  destination.on('error', () => {
    broken = true;
  });
  const flush = (): void => {
    if (broken) return;
    try {
      send();
      destination.flushSync();
    } catch {
      // The stream has no reader any more.
    }
  };
  process.once('exit', flush);
  return { log: pino({ ...options, timestamp: pino.stdTimeFunctions.isoTime }, { write }), flush };
}

/** A line of the log as it was written. */
type Line = Readonly<Record<string, unknown>>;

/** Fields that a terminal shows elsewhere in the line, or not at all. */
const UNSEEN = new Set(['level', 'time', 'msg', 'err', 'faults', 'field', 'pid', 'retry_in_s']);
/** Identifiers: they matter to a machine, and to a person once something is wrong. */
const IDENTIFIERS = new Set(['digest', 'revision', 'sha256', 'request_id', 'trace_id', 'span_id']);
/** Levels of pino. */
const INFO = 30;

/** A line of the log for a person: `POST /classify 200 4.2 ms`, or the message and its details as `name=value`. */
export function terminalText(line: Line): string {
  const message = String(line.msg);
  if (message === 'ready' && line.url !== undefined) {
    return `ready on ${line.url} in ${(Number(line.boot_ms) / 1_000).toFixed(1)} s, ${line.routes} routes`;
  }
  if (message === 'request') {
    const text = `${line.method} ${line.path} ${line.status} ${spanText(Number(line.duration_ms))}`;
    return Number(line.status) < 500 ? text : `${text} request_id=${line.request_id}`;
  }
  const details = Object.entries(line).flatMap(([name, value]) => {
    if (UNSEEN.has(name) || (Number(line.level) <= INFO && IDENTIFIERS.has(name))) return [];
    // Some messages hold their reason.
    const text = valueText(name, value);
    return text === '' || message.includes(String(value))
      ? []
      : [`${name.replace(/_(ms|bytes)$/, '')}=${text}`];
  });
  const next = line.retry_in_s === undefined ? '' : `; next attempt in ${line.retry_in_s} s`;
  const { words, stack } = errorText(line.err, message);
  const faults = Array.isArray(line.faults) ? line.faults.map((fault) => `\n    ${fault}`) : [];
  return [`${message}${next}${words}`, ...details].join(' ') + faults.join('') + stack;
}

/** An error with a code of this program is an expected state; another one has its stack, on lines of its own. */
function errorText(error: unknown, message: string): { readonly words: string; readonly stack: string } {
  if (typeof error !== 'object' || error === null) return { words: '', stack: '' };
  const { code, message: text, stack } = error as Line;
  const words = message.includes(String(text)) ? '' : `: ${String(text)}`;
  if (typeof code === 'string' && code !== 'internal') return { words, stack: '' };
  return { words: '', stack: `\n${String(stack ?? text)}`.replaceAll('\n', '\n    ') };
}

function valueText(name: string, value: unknown): string {
  if (value === undefined || value === null) return '';
  if (Array.isArray(value)) return value.length > 2 ? String(value.length) : value.join(',');
  if (typeof value === 'number') {
    if (name.endsWith('_ms')) return spanText(value).replace(' ', '');
    if (name.endsWith('bytes')) return value < 1e5 ? `${value}B` : `${(value / 1e6).toFixed(1)}MB`;
    return String(Number(value.toPrecision(4)));
  }
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const short = text.replace(/\b([0-9a-f]{12})[0-9a-f]{20,}/g, '$1…');
  return short.includes(' ') ? `"${short}"` : short;
}

/** `4.2 ms`, `412 ms`, `1.5 s`, `12 s`. */
function spanText(ms: number): string {
  if (ms < 1_000) return `${ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return ms < 10_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.round(ms / 1_000)} s`;
}

/** Everything that moves a cursor, starts a line or turns text around on a terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** Escapes control characters in a log line, so that it is safe on a terminal; only a stack keeps its line feeds. */
function harmless(line: string): string {
  const escaped = (text: string): string =>
    text.replace(CONTROLS, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const entry = JSON.parse(line, (key, value: unknown) => {
    if (typeof value !== 'string') return value;
    return key === 'stack' ? value.split('\n').map(escaped).join('\n') : escaped(value);
  }) as unknown;
  return `${JSON.stringify(entry)}\n`;
}
