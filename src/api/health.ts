import * as z from 'zod';
import { count, digest, errorCode, type Shape } from './schema.js';

/**
 * How far a daemon is. `copying` takes the bundled model, `waiting` is the time between two attempts at a model that no
 * source delivers. `failed` means that the pinned model itself is at fault; it goes on listening.
 */
export const PHASES = [
  'verifying',
  'copying',
  'downloading',
  'waiting',
  'loading',
  'warming',
  'training',
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
    digest: digest.exactOptional().meta({ description: 'Digest of the served routes' }),
    age_s: z
      .number()
      .min(0)
      .exactOptional()
      .meta({ description: 'Seconds since the leader of `ROUTES_URL` confirmed these routes' }),
  })
  .meta({ id: 'Check', description: 'State of one part' });

export const healthSchema = z
  .object({
    status: z.enum(['starting', 'ready', 'degraded', 'draining']).meta({
      description: '`degraded`: serving, with a problem that `checks` names',
    }),
    phase: z.enum(PHASES),
    progress: z
      .object({ done: count, total: count, unit: z.enum(['bytes', 'utterances']) })
      .nullable()
      .meta({ description: 'Progress of the phase, if it has any' }),
    checks: z.object({
      volume: checkSchema,
      cache: checkSchema,
      model: checkSchema,
      routes: checkSchema,
    }),
    uptime_s: z.number().min(0).meta({ description: 'Seconds' }),
    version: z.string(),
  })
  .meta({ id: 'Health', description: 'State of the daemon, and whether it can answer' });

export const liveSchema = z.object({ status: z.literal('alive') }).meta({ id: 'Live' });

/** How one part is. */
export type Check = Shape<typeof checkSchema>;
/** The body of `/health` and `/readyz`. */
export type Health = Shape<typeof healthSchema>;
/** The body of `/livez`. */
export type Live = Shape<typeof liveSchema>;
/** A report on health, and whether a classification would succeed now. */
export interface HealthReport extends Health {
  readonly ready: boolean;
}

/** Bodies of the health endpoints of the open inference protocol. */
export const openInferenceLive = z.strictObject({ live: z.boolean() }).meta({ id: 'OpenInferenceLive' });
export const openInferenceReady = z.strictObject({ ready: z.boolean() }).meta({ id: 'OpenInferenceReady' });

/** The body of `GET /v2/health/live`. */
export type OpenInferenceLive = z.infer<typeof openInferenceLive>;
/** The body of `GET /v2/health/ready`. */
export type OpenInferenceReady = z.infer<typeof openInferenceReady>;
