import * as z from 'zod';
import { json, operation, type Paths } from './operation.js';

const liveResponse = z.strictObject({ live: z.boolean() }).meta({ id: 'OpenInferenceLive' });
const readyResponse = z.strictObject({ ready: z.boolean() }).meta({ id: 'OpenInferenceReady' });

/** The body of `GET /v2/health/live`. */
export type OpenInferenceLive = z.infer<typeof liveResponse>;
/** The body of `GET /v2/health/ready`. */
export type OpenInferenceReady = z.infer<typeof readyResponse>;

/** The health paths of the open inference protocol. */
export function openInferencePaths(): Paths {
  const common = { tag: 'Health', access: 'open' } as const;
  return {
    '/v2/health/live': {
      get: operation({
        ...common,
        id: 'openInferenceLive',
        summary: 'The same as `/livez`, for the open inference protocol',
        answers: { 200: json('The process works', liveResponse) },
      }),
    },
    '/v2/health/ready': {
      get: operation({
        ...common,
        id: 'openInferenceReady',
        summary: 'The same as `/readyz`, for the open inference protocol',
        answers: {
          200: json('A classification would succeed', readyResponse),
          503: json('It would not', readyResponse, { headers: { 'Retry-After': z.string().regex(/^\d+$/) } }),
        },
      }),
    },
  };
}
