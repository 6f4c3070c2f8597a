import type { Config } from '../config/config.js';
import type { TracingPort } from '../http/tracing.js';
import { AppError, errnoOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';

/** Spans on their way out of the process. */
export interface Tracing extends TracingPort {
  /** Sends what is still here, for at most `deadlineMs`. */
  close(deadlineMs: number): Promise<void>;
}

/** The settings that tracing has. */
export type TracingConfig = Pick<Config, 'tracesExporter' | 'otelDisabled' | 'otelServiceName'>;

/**
 * Starts the export of spans where the settings ask for it; otherwise nothing of it is loaded.
 * @throws AppError `config_invalid` when it is asked for and not installed
 */
export async function startTracing(
  config: TracingConfig,
  version: string,
  log: Log,
): Promise<Tracing | undefined> {
  if (config.otelDisabled || config.tracesExporter === 'none') return undefined;
  try {
    const { OpenTelemetry } = await import('./open-telemetry.js');
    return new OpenTelemetry(config.otelServiceName, version, log);
  } catch (cause) {
    if (errnoOf(cause) !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new AppError(
      'config_invalid',
      'OTEL_… asks for traces, but the optional packages @opentelemetry/… are not installed: ' +
        'install without --omit=optional, or set OTEL_SDK_DISABLED=true',
      { cause },
    );
  }
}
