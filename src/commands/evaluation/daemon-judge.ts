import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';
import { redactUrl } from '../../cache/sources/index.js';
import type { Decision } from '../../scoring/decision.js';
import { bearer } from '../../shared/bearer.js';
import { AppError, messageOf } from '../../shared/errors.js';
import type { Judge } from './judge.js';

/** A daemon that is busy, or starting, is asked again so many times. */
const MAX_ATTEMPTS = 20;

const routesSchema = z.looseObject({
  digest: z.string(),
  routes: z.array(z.looseObject({ name: z.string() })).min(1),
});

/** The parts of a decision that are looked at. */
const decisionSchema = z.looseObject({
  route: z.string().nullable(),
  candidates: z.array(z.looseObject({ route: z.string(), score: z.number() })).min(1),
  routes_digest: z.string(),
  model: z.looseObject({ id: z.string(), variant: z.string(), digest: z.string() }),
});

/** How a daemon is asked. */
export interface DaemonJudgeOptions {
  /** Requests at once. */
  readonly concurrency: number;
  /** One of its `API_KEYS` or `ADMIN_KEYS`, where it wants one. */
  readonly key: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * A daemon as a judge.
 * @throws AppError `source_unreachable`, `source_wrong_bytes` when something else answers there
 */
export async function daemonJudge(
  url: string,
  { concurrency, key, signal }: DaemonJudgeOptions,
): Promise<Judge> {
  const base = url.endsWith('/') ? url : `${url}/`;
  const name = redactUrl(url);
  const listed = routesSchema.safeParse(
    await ask(new URL('routes', base), { signal, headers: bearer(key) }, name),
  );
  if (!listed.success) throw new AppError('source_wrong_bytes', `${name}: no ai-router answers there`);
  const address = new URL('classify', base);
  return {
    name,
    routes: listed.data.routes.map((route) => route.name),
    concurrency,
    measures: `the round trip of one request, ${concurrency} at once`,
    async classify(text, stop) {
      const started = performance.now();
      const body = await ask(
        address,
        {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...bearer(key) },
          body: JSON.stringify({ text, top_k: 1 }),
          signal: stop,
        },
        name,
      );
      const parsed = decisionSchema.safeParse(body);
      if (!parsed.success)
        throw new AppError('source_wrong_bytes', `${name}: not a decision of an ai-router`);
      // Checked just now, as far as anything here looks at it.
      return { decision: parsed.data as unknown as Decision, ms: performance.now() - started };
    },
  };
}

async function ask(address: URL, init: RequestInit, name: string): Promise<unknown> {
  for (let attempt = 1; ; attempt += 1) {
    let response: Response;
    try {
      response = await fetch(address, { ...init, redirect: 'error' });
    } catch (cause) {
      if (init.signal?.aborted) throw new AppError('aborted', 'aborted', { cause });
      const inner = cause instanceof Error && cause.cause !== undefined ? cause.cause : cause;
      throw new AppError('source_unreachable', `${name}: ${messageOf(inner)}`, { cause });
    }
    const text = await response.text();
    if (response.ok) return JSON.parse(text);
    if (![429, 503].includes(response.status) || attempt >= MAX_ATTEMPTS) {
      throw new AppError('source_refused', `${name} answered ${response.status}: ${detailOf(text)}`);
    }
    const seconds = Number(response.headers.get('retry-after') ?? 1);
    await sleep((Number.isFinite(seconds) ? Math.min(seconds, 5) : 1) * 1_000, undefined, {
      ...(init.signal && { signal: init.signal }),
    }).catch(() => undefined);
  }
}

function detailOf(text: string): string {
  try {
    const { detail } = JSON.parse(text) as { detail?: unknown };
    if (typeof detail === 'string') return detail;
  } catch {
    // Then it is not one of ours.
  }
  return text.slice(0, 200);
}
