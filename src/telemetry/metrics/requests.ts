import { Counter, Histogram, type Registry } from 'prom-client';
import { GATES } from '../../shared/errors.js';
import type { RequestMetrics } from '../ports.js';
import { counters, gauge } from './instruments.js';

/** Upper bounds of the latency buckets, in seconds. */
const LATENCY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

/** Upper bounds of the buckets for texts in a request. */
const BATCH_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 1_024];

/** More routes than this share a label: every label value is a time series for ever. */
const MAX_ROUTE_LABELS = 200;

/** Labels of what is no route; a route may have any name but these. */
const OTHER = '(other)';
const LABELS = '(labels)';

export function requestMetrics(registers: Registry[]): RequestMetrics {
  let open = 0;
  gauge(registers, 'http_requests_open', 'Requests that are being answered', () => open);
  const seconds = new Histogram({
    name: 'ai_router_http_request_duration_seconds',
    help: 'Time from a request to its answer, by template of the path; its count is the number of requests',
    labelNames: ['method', 'route', 'status'],
    buckets: LATENCY_BUCKETS,
    registers,
  });
  const errors = new Counter({
    name: 'ai_router_errors_total',
    help: 'Requests that failed, by code',
    labelNames: ['code'],
    registers,
  });
  // Known from the start, so that the first of them is a rise.
  for (const code of ['overloaded', 'timeout', 'worker_failed', 'internal']) errors.inc({ code }, 0);
  const refusals = new Counter({
    name: 'ai_router_refused_total',
    help: 'Requests and connections that were refused because of load, by gate',
    labelNames: ['gate'],
    registers,
  });
  for (const gate of GATES) refusals.inc({ gate }, 0);
  const texts = new Histogram({
    name: 'ai_router_request_texts',
    help: 'Texts in a request that was answered; the sum is the number of texts',
    buckets: BATCH_BUCKETS,
    registers,
  });
  const totals = { tokens: 0, truncated_texts: 0, truncated_tokens: 0 };
  const helps = {
    tokens: 'Tokens of the texts of requests, as the model sees them',
    truncated_texts: 'Texts that were longer than the model takes',
    truncated_tokens: 'Tokens that were cut off such texts',
  } as const;
  counters(registers, '', helps, (key) => totals[key]);
  const decisions = new Counter({
    name: 'ai_router_decisions_total',
    help: `Decisions by route; abstentions have the empty route, and decisions among a request's own labels ${LABELS}`,
    labelNames: ['route'],
    registers,
  });
  const abstentions = new Counter({
    name: 'ai_router_abstentions_total',
    help: 'Texts that reached the threshold of no route, or of no label',
    labelNames: ['kind'],
    registers,
  });
  for (const kind of ['routes', 'labels']) abstentions.inc({ kind }, 0);
  const fallback = new Counter({
    name: 'ai_router_fallback_total',
    help: 'Decision calls of which a choice reached no threshold, by what came of FALLBACK_URL; none without it',
    labelNames: ['result'],
    registers,
  });
  const labels = new Set<string>();
  return {
    began() {
      open += 1;
    },
    answered(method, route, status, duration) {
      open -= 1;
      seconds.observe({ method, route, status: String(status) }, duration);
    },
    failed(code, gate) {
      errors.inc({ code });
      if (gate) refusals.inc({ gate });
    },
    refused: (gate) => refusals.inc({ gate }),
    read(usage) {
      texts.observe(usage.texts);
      totals.tokens += usage.tokens;
      totals.truncated_texts += usage.truncatedTexts;
      totals.truncated_tokens += usage.truncatedTokens;
    },
    fellBack: (result) => fallback.inc({ result }),
    decided(route, kind) {
      if (route === null) abstentions.inc({ kind });
      // Labels are the caller's own words: they must become neither time series nor public.
      if (kind === 'labels') return decisions.inc({ route: LABELS });
      const name = route ?? '';
      if (labels.size < MAX_ROUTE_LABELS) labels.add(name);
      decisions.inc({ route: labels.has(name) ? name : OTHER });
    },
  };
}
