import * as z from 'zod';
import { redactUrl } from '../cache/sources/index.js';
import { bearer } from '../shared/bearer.js';
import { AppError, messageOf } from '../shared/errors.js';
import type { Outcome } from './command.js';
import { formatBytes, table } from './format.js';

/** The part of `/cache/status` that is shown to people; `--json` passes all of it on. */
const statusSchema = z.looseObject({
  volume: z.looseObject({
    path: z.string(),
    mount: z.boolean(),
    writable: z.boolean(),
    free_bytes: z.number().nullable(),
  }),
  manifest: z.looseObject({ id: z.string(), revision: z.string(), variant: z.string() }),
  whole: z.boolean(),
  files: z.array(
    z.looseObject({
      path: z.string(),
      size: z.number(),
      state: z.string(),
      bytes: z.number(),
      source: z.string().nullable(),
      reason: z.string().nullable(),
    }),
  ),
  verification: z.looseObject({ running: z.boolean(), next: z.string().nullable() }),
  events: z.array(z.looseObject({ at: z.string(), kind: z.string(), message: z.string() })),
});

const EVENTS_SHOWN = 5;

/** How a daemon is asked. */
export interface DaemonStatusOptions {
  readonly timeoutMs: number;
  /** One of its `API_KEYS` or `ADMIN_KEYS`, where it wants one. */
  readonly key: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * What the daemon at `url` says of its cache.
 * @throws AppError `source_unreachable`, `source_wrong_bytes` when something else answers there
 */
export async function daemonStatus(
  url: string,
  { timeoutMs, key, signal }: DaemonStatusOptions,
): Promise<Outcome> {
  const address = new URL('cache/status', url.endsWith('/') ? url : `${url}/`);
  const body = await ask(address, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    headers: bearer(key),
  });
  const parsed = statusSchema.safeParse(body);
  if (!parsed.success) {
    throw new AppError('source_wrong_bytes', `${redactUrl(address)}: no ai-router answers there`);
  }
  const { volume, manifest, whole, files, verification, events } = parsed.data;
  const free = volume.free_bytes === null ? 'unknown' : formatBytes(volume.free_bytes);
  return {
    ok: whole,
    report: { url: redactUrl(url), ...parsed.data },
    text: [
      `${redactUrl(url)}: ${whole ? 'whole' : 'NOT whole'}: ${manifest.id}@${manifest.revision.slice(0, 12)} (${manifest.variant})`,
      `${volume.path}: ${volume.mount ? 'a mount' : 'not a mount'}, ${volume.writable ? 'writable' : 'not writable'}, ${free} free`,
      ...table(
        files.map(({ path, size, state, bytes, source, reason }) => [
          `  ${path}`,
          state === 'downloading' || state === 'repairing'
            ? `${formatBytes(bytes)} of ${formatBytes(size)}`
            : formatBytes(size),
          [state, reason === null ? '' : `: ${reason}`, source === null ? '' : ` (from ${source})`].join(''),
        ]),
      ),
      verification.running
        ? 'a verification is running'
        : `next verification: ${verification.next ?? 'not scheduled'}`,
      ...events.slice(0, EVENTS_SHOWN).map(({ at, kind, message }) => `  ${at} ${kind}: ${message}`),
    ],
  };
}

async function ask(address: URL, init: RequestInit): Promise<unknown> {
  try {
    const response = await fetch(address, { ...init, redirect: 'error' });
    if (response.status === 401) throw new Error('answered 401: put one of its keys into AI_ROUTER_KEY');
    if (!response.ok) throw new Error(`answered ${response.status}`);
    return await response.json();
  } catch (cause) {
    const inner = cause instanceof Error && cause.cause !== undefined ? cause.cause : cause;
    throw new AppError('source_unreachable', `${redactUrl(address)}: ${messageOf(inner)}`, { cause });
  }
}
