import { type Logger, pino } from 'pino';
import type { Config } from './config.js';

/** Lines are written together: one write for each request's would be a tenth of what a request costs. */
const BUFFER = { minLength: 4_096, periodicFlush: 50 } as const;

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
    return { log: pino(options, stream), flush: () => undefined };
  }
  const destination = pino.destination({ dest: 1, sync: false, ...BUFFER });
  let broken = false;
  destination.on('error', () => {
    broken = true;
  });
  return {
    log: pino({ ...options, timestamp: pino.stdTimeFunctions.isoTime }, destination),
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
