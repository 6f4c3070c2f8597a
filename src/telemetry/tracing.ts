import type { Config } from '../config/config.js';
import { messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import type { TracingPort } from './ports.js';

/** Spans on their way out of the process. */
export interface Tracing extends TracingPort {
  /** Sends what is still here, for at most `deadlineMs`. */
  close(deadlineMs: number): Promise<void>;
}

/** The settings that tracing has. */
export type TracingConfig = Pick<
  Config,
  | 'otelEndpoint'
  | 'otelTracesEndpoint'
  | 'otelProtocol'
  | 'otelTracesProtocol'
  | 'tracesExporter'
  | 'otelServiceName'
  | 'otelDisabled'
>;

/** Whether spans are sent, and the variables that are not understood. */
export interface TracingPlan {
  readonly on: boolean;
  readonly warnings: readonly { readonly setting: string; readonly reason: string }[];
}

const EXPORTERS = ['otlp', 'none'];
const PROTOCOLS = ['http/json', 'http/protobuf'];

/** Decides by the standard variables whether spans are sent. The value of an endpoint is not repeated: it may hold a password. */
export function planTracing(config: TracingConfig): TracingPlan {
  const { otelEndpoint, otelTracesEndpoint, otelProtocol, otelTracesProtocol, tracesExporter } = config;
  const endpoint = otelTracesEndpoint ?? otelEndpoint;
  const exporters = tracesExporter?.toLowerCase().split(/[\s,]+/) ?? [endpoint ? 'otlp' : 'none'];
  const warnings: { setting: string; reason: string }[] = [];
  const warn = (setting: string, reason: string): void => void warnings.push({ setting, reason });
  if (config.otelDisabled) return { on: false, warnings };

  const unknown = exporters.filter((name) => name !== '' && !EXPORTERS.includes(name));
  if (unknown.length > 0)
    warn('OTEL_TRACES_EXPORTER', `"${unknown.join(', ')}" is not supported; set otlp or none`);
  const protocol = (otelTracesProtocol ?? otelProtocol).toLowerCase();
  const spoken = PROTOCOLS.includes(protocol);
  // Without an exporter of spans, advice on their protocol is not needed.
  const silent = tracesExporter !== undefined && !exporters.includes('otlp');
  if (!spoken && !silent) {
    const name = otelTracesProtocol === undefined ? 'PROTOCOL' : 'TRACES_PROTOCOL';
    warn(
      `OTEL_EXPORTER_OTLP_${name}`,
      `"${protocol}" is not supported, no spans are sent; set ${PROTOCOLS.join(' or ')}, and the port for OTLP over HTTP (usually 4318)`,
    );
  }
  const reachable = endpoint === undefined || /^https?:$/.test(protocolOf(endpoint));
  if (!reachable && !silent) {
    const name = otelTracesEndpoint === undefined ? 'ENDPOINT' : 'TRACES_ENDPOINT';
    warn(
      `OTEL_EXPORTER_OTLP_${name}`,
      'must be a URL that starts with http:// or https://; no spans are sent',
    );
  }
  return { on: exporters.includes('otlp') && spoken && reachable, warnings };
}

function protocolOf(url: string): string {
  return URL.canParse(url) ? new URL(url).protocol : '';
}

/**
 * Starts the export of spans where the settings ask for it; otherwise nothing of it is loaded. What is not supported is
 * logged and never ends the start.
 */
export async function startTracing(
  config: TracingConfig,
  version: string,
  log: Log,
): Promise<Tracing | undefined> {
  const { on, warnings } = planTracing(config);
  for (const warning of warnings) log.warn(warning, 'OpenTelemetry variable not supported');
  if (!on) return undefined;
  try {
    const { OpenTelemetry } = await import('./open-telemetry.js');
    return new OpenTelemetry(config.otelServiceName, version, log);
  } catch (error) {
    log.warn({ reason: messageOf(error) }, 'OpenTelemetry does not start; no spans are sent');
    return undefined;
  }
}
