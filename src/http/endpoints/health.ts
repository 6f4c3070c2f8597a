import * as z from 'zod';
import {
  type HealthReport,
  healthSchema,
  liveSchema,
  type OpenInferenceLive,
  type OpenInferenceReady,
  openInferenceLive,
  openInferenceReady,
} from '../../api/health.js';
import type { MetricsPort } from '../../telemetry/ports.js';
import { type Endpoint, json } from '../openapi.js';
import { type RequestContext, sendJson } from '../request.js';

export interface HealthPort {
  report(): HealthReport;
  /** Whether the daemon is shutting down. */
  readonly draining: boolean;
}

export interface HealthPorts {
  readonly health: HealthPort;
  readonly metrics: MetricsPort;
}

const RETRY_AFTER = { 'Retry-After': z.string().regex(/^\d+$/) };

const EXAMPLE = {
  status: 'ready',
  phase: 'ready',
  progress: null,
  checks: {
    volume: { ok: true, detail: '/data/models' },
    cache: { ok: true },
    model: { ok: true, detail: '2 of 2 workers' },
    routes: { ok: true, detail: '16 routes of default.yaml' },
  },
  uptime_s: 73.5,
  version: '0.2.0',
};

/**
 * `/livez` (the process works), `/readyz` and `/health` (a classification would succeed), the health endpoints of the open
 * inference protocol for platforms that ask there, and `/metrics`.
 */
export function healthEndpoints(): Endpoint<HealthPorts>[] {
  const common = { method: 'GET', access: 'open', quiet: true, tag: 'Health' } as const;
  const ready = {
    200: json('A classification would succeed', healthSchema, { examples: { ready: { value: EXAMPLE } } }),
    503: json('Not ready', healthSchema, { headers: RETRY_AFTER }),
  };
  const report = (context: RequestContext, { health }: HealthPorts): void => {
    const { ready, ...body } = health.report();
    sendReadiness(context, ready, body);
  };
  return [
    {
      ...common,
      path: '/livez',
      id: 'livez',
      summary: 'Liveness: the process responds',
      answers: {
        200: json('The process responds', liveSchema, {
          examples: { alive: { value: { status: 'alive' } } },
        }),
      },
      handle: (context) => sendReadiness(context, true, { status: 'alive' }),
    },
    {
      ...common,
      path: '/readyz',
      id: 'readyz',
      summary: 'Readiness: a classification would succeed',
      answers: ready,
      handle: report,
    },
    {
      ...common,
      path: '/health',
      id: 'health',
      summary: 'The same as `/readyz`',
      answers: ready,
      handle: report,
    },
    {
      ...common,
      path: '/v2/health/live',
      id: 'openInferenceLive',
      summary: 'The same as `/livez`, for the open inference protocol',
      answers: { 200: json('The process responds', openInferenceLive) },
      handle: (context) => sendReadiness(context, true, { live: true } satisfies OpenInferenceLive),
    },
    {
      ...common,
      path: '/v2/health/ready',
      id: 'openInferenceReady',
      summary: 'The same as `/readyz`, for the open inference protocol',
      answers: {
        200: json('A classification would succeed', openInferenceReady),
        503: json('Not ready', openInferenceReady, { headers: RETRY_AFTER }),
      },
      handle(context, { health }) {
        const { ready } = health.report();
        sendReadiness(context, ready, { ready } satisfies OpenInferenceReady);
      },
    },
    {
      ...common,
      path: '/metrics',
      access: 'key',
      id: 'metrics',
      summary: 'Requests, decisions, cache, workers and process, for Prometheus',
      answers: {
        200: {
          description: 'The Prometheus text format',
          content: { 'text/plain': { schema: z.string() } },
        },
      },
      async handle(context, { metrics }) {
        context.set('Cache-Control', 'no-store');
        context.set('Content-Type', metrics.contentType);
        context.body = await metrics.render();
      },
    },
  ];
}

function sendReadiness(context: RequestContext, ready: boolean, body: object): void {
  context.set('Cache-Control', 'no-store');
  context.status = ready ? 200 : 503;
  if (!ready) context.set('Retry-After', '1');
  sendJson(context, body);
}
