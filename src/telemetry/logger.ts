import { type Logger, pino } from 'pino';
import type { Config } from '../config/config.js';

/**
 * Lines are written together, as many as one write may take: a write for each request's would be a tenth of what a
 * request costs.
 */
const BUFFER = { minLength: 16_000, periodicFlush: 50 } as const;

/** A logger and the way to get its last lines out before the process ends. */
export interface ProcessLogger {
  readonly log: Logger;
  flush(): void;
}

/**
 * Logs to stdout: one JSON object a line, or for people on a terminal. Writing is asynchronous, so that a slow
 * reader never holds up a request; a reader that goes away ends the logging, not the daemon.
 */
export async function createLogger(config: Pick<Config, 'logLevel' | 'logFormat'>): Promise<ProcessLogger> {
  const options = { level: config.logLevel, base: null, messageKey: 'msg' };
  const pretty = config.logFormat === 'pretty' || (config.logFormat === 'auto' && process.stdout.isTTY);
  if (pretty) {
    const { default: prettyStream } = await import('pino-pretty');
    const stream = prettyStream({ translateTime: 'HH:MM:ss.l', sync: true });
    const terminal = { write: (line: string) => void stream.write(harmless(line)) };
    return { log: pino(options, terminal), flush: () => undefined };
  }
  const destination = pino.destination({ dest: 1, sync: false, ...BUFFER });
  let broken = false;
  destination.on('error', () => {
    broken = true;
  });
  return {
    log: pino({ ...options, timestamp: isoTime() }, destination),
    flush: () => {
      if (broken) return;
      try {
        destination.flushSync();
      } catch {
        // Nobody is left to read it.
      }
    },
  };
}

/** Writes the time of a line, whose date it works out once a second. */
function isoTime(): () => string {
  let second = Number.NaN;
  let start = '';
  return () => {
    const now = Date.now();
    const ms = now % 1_000;
    if (now - ms !== second) {
      second = now - ms;
      start = new Date(second).toISOString().slice(0, -'000Z'.length);
    }
    return `,"time":"${start}${String(ms).padStart(3, '0')}Z"`;
  };
}

/** Everything that moves a cursor, starts a line or turns text around on a terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** What came from outside into a line of the log stays text on a terminal; only a stack has lines of its own. */
function harmless(line: string): string {
  const escaped = (text: string): string =>
    text.replace(CONTROLS, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const entry = JSON.parse(line, (key, value: unknown) => {
    if (typeof value !== 'string') return value;
    return key === 'stack' ? value.split('\n').map(escaped).join('\n') : escaped(value);
  }) as unknown;
  return `${JSON.stringify(entry)}\n`;
}
