import * as z from 'zod';
import { json, operation, type Paths } from './operation.js';
import { count, errorCode, type Shape } from './schema.js';

/** How far a daemon is. `failed` means that the pinned model itself is at fault; it goes on listening. */
export const PHASES = [
  'verifying',
  'downloading',
  'loading',
  'warming',
  'ready',
  'failed',
  'draining',
] as const;

/** One of {@link PHASES}. */
export type Phase = (typeof PHASES)[number];

const checkSchema = z
  .object({
    ok: z.boolean(),
    code: errorCode.exactOptional(),
    detail: z.string().exactOptional(),
  })
  .meta({ id: 'Check', description: 'How one part is' });

const healthSchema = z
  .object({
    status: z.enum(['starting', 'ready', 'degraded', 'draining']).meta({
      description: '`degraded` serves, but something named in `checks` needs care',
    }),
    phase: z.enum(PHASES),
    progress: z
      .object({ done: count, total: count, unit: z.enum(['bytes', 'utterances']) })
      .nullable()
      .meta({ description: 'Of a phase that has some' }),
    checks: z.object({
      volume: checkSchema,
      cache: checkSchema,
      model: checkSchema,
      routes: checkSchema,
    }),
    uptime_s: z.number().min(0).meta({ description: 'Seconds' }),
    version: z.string(),
  })
  .meta({ id: 'Health', description: 'How the daemon is, and whether it can answer' });

const liveSchema = z.object({ status: z.literal('alive') }).meta({ id: 'Live' });

/** How one part is. */
export type Check = Shape<typeof checkSchema>;
/** The body of `/health` and `/readyz`. */
export type Health = Shape<typeof healthSchema>;
/** The body of `/livez`. */
export type Live = Shape<typeof liveSchema>;

const RETRY_AFTER = { 'Retry-After': z.string().regex(/^\d+$/) };

/** `/livez`, `/readyz` and `/health`. */
export function healthPaths(): Paths {
  const common = { tag: 'Health', access: 'open' } as const;
  const ready = {
    200: json('A classification would succeed', healthSchema, {
      examples: {
        ready: {
          value: {
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
            version: '0.1.0',
          },
        },
      },
    }),
    503: json('It would not, yet or any more', healthSchema, { headers: RETRY_AFTER }),
  };
  return {
    '/livez': {
      get: operation({
        ...common,
        id: 'livez',
        summary: 'Does the process work?',
        answers: {
          200: json('It does', liveSchema, { examples: { alive: { value: { status: 'alive' } } } }),
        },
      }),
    },
    '/readyz': {
      get: operation({ ...common, id: 'readyz', summary: 'Would a classification succeed?', answers: ready }),
    },
    '/health': {
      get: operation({ ...common, id: 'health', summary: 'The same as `/readyz`', answers: ready }),
    },
  };
}
