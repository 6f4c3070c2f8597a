import type { Config } from '../config/config.js';
import type { Log } from '../shared/log.js';
import type { TracingPort } from './ports.js';

/** Spans on their way out of the process. */
export interface Tracing extends TracingPort {
  /** Sends what is still here, for at most `deadlineMs`. */
  close(deadlineMs: number): Promise<void>;
}

/** The settings that tracing has. */
export type TracingConfig = Pick<Config, 'tracesExporter' | 'otelDisabled' | 'otelServiceName'>;

/** Starts the export of spans where the settings ask for it; otherwise nothing of it is loaded. */
export async function startTracing(
  config: TracingConfig,
  version: string,
  log: Log,
): Promise<Tracing | undefined> {
  if (config.otelDisabled || config.tracesExporter === 'none') return undefined;
  const { OpenTelemetry } = await import('./open-telemetry.js');
  return new OpenTelemetry(config.otelServiceName, version, log);
}
