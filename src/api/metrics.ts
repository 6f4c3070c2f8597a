import * as z from 'zod';
import { operation, type Paths } from './operation.js';

/** `GET /metrics`. */
export function metricsPaths(): Paths {
  return {
    '/metrics': {
      get: operation({
        id: 'metrics',
        tag: 'Health',
        access: 'key',
        summary: 'Requests, decisions, cache, workers and process, for Prometheus',
        answers: {
          200: {
            description: 'The Prometheus text format',
            content: { 'text/plain': { schema: z.string() } },
          },
        },
      }),
    },
  };
}
