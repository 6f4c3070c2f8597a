import { setTimeout as sleep } from 'node:timers/promises';
import {
  createTraceState,
  DiagLogLevel,
  diag,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { Log } from '../shared/log.js';
import type { BegunRequest, RequestSpan } from './ports.js';
import type { Tracing } from './tracing.js';

/** A trouble of the exporter is logged again after this long, in milliseconds. */
const REPEAT_AFTER_MS = 60_000;

/**
 * Sends one span for each request over OTLP/HTTP. Endpoint, headers, sampler, batches and resource attributes are the
 * SDK's own to read, from the standard environment variables.
 */
export class OpenTelemetry implements Tracing {
  readonly #provider: BasicTracerProvider;
  readonly #tracer: Tracer;

  constructor(serviceName: string, version: string, log: Log) {
    logTroubles(log);
    const own = resourceFromAttributes({ 'service.name': serviceName, 'service.version': version });
    this.#provider = new BasicTracerProvider({
      resource: own.merge(detectResources({ detectors: [envDetector] })),
      spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
    });
    this.#tracer = this.#provider.getTracer('ai-router', version);
  }

  begin({ method, path, requestId, parent, tracestate }: BegunRequest): RequestSpan {
    const context = parent
      ? trace.setSpanContext(ROOT_CONTEXT, {
          traceId: parent.traceId,
          spanId: parent.spanId,
          traceFlags: parent.sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
          isRemote: true,
          ...(tracestate && { traceState: createTraceState(tracestate) }),
        })
      : ROOT_CONTEXT;
    const attributes = {
      'http.request.method': method,
      'url.path': path,
      'url.scheme': 'http',
      'ai_router.request_id': requestId,
    };
    const span = this.#tracer.startSpan(method, { kind: SpanKind.SERVER, attributes }, context);
    const { traceId, spanId } = span.spanContext();
    return {
      traceId,
      spanId,
      end({ route, status, timings }) {
        if (route !== undefined) {
          span.updateName(`${method} ${route}`);
          span.setAttribute('http.route', route);
        }
        span.setAttribute('http.response.status_code', status);
        for (const [name, ms] of Object.entries(timings)) span.setAttribute(`ai_router.${name}_ms`, ms);
        if (status >= 500) {
          span.setAttribute('error.type', String(status));
          span.setStatus({ code: SpanStatusCode.ERROR });
        }
        span.end();
      },
    };
  }

  async close(deadlineMs: number): Promise<void> {
    const late = new AbortController();
    await Promise.race([
      this.#provider.shutdown().catch(() => undefined),
      sleep(deadlineMs, undefined, { signal: late.signal }).catch(() => undefined),
    ]);
    late.abort();
  }
}

/** The exporter's troubles, such as a collector that is away, go to the log, and not with every batch. */
function logTroubles(log: Log): void {
  const loggedAt = new Map<string, number>();
  const tell = (message: string): void => {
    const reason = reasonIn(message).slice(0, 300);
    if (performance.now() - (loggedAt.get(reason) ?? -Infinity) < REPEAT_AFTER_MS) return;
    loggedAt.clear();
    loggedAt.set(reason, performance.now());
    log.warn({ reason }, 'trace export failed');
  };
  const ignore = (): void => undefined;
  diag.setLogger(
    { error: tell, warn: tell, info: ignore, debug: ignore, verbose: ignore },
    DiagLogLevel.WARN,
  );
}

/** The SDK writes an error as JSON, with its stack; the message in it is the reason. */
function reasonIn(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    return typeof message === 'string' && message !== '' ? message : text;
  } catch {
    return text;
  }
}
