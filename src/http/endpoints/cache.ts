import {
  type CacheStatus,
  cacheStatusSchema,
  type VerificationReport,
  verificationReportSchema,
} from '../../api/cache.js';
import { type Endpoint, json } from '../openapi.js';
import { sendJson } from '../request.js';

export interface CachePorts {
  readonly cache: {
    status(): Promise<CacheStatus>;
    /** Runs a full verification, with repair, and resolves with its report. */
    verify(): Promise<VerificationReport>;
  };
}

/** `GET /cache/status` and `POST /cache/verify`. */
export function cacheEndpoints(): Endpoint<CachePorts>[] {
  return [
    {
      method: 'GET',
      path: '/cache/status',
      access: 'key',
      quiet: true,
      id: 'cacheStatus',
      tag: 'Cache',
      summary: 'The volume, each file, verifications, quarantine and recent events',
      answers: { 200: json('The state of the cache', cacheStatusSchema) },
      async handle(context, { cache }) {
        context.set('Cache-Control', 'no-store');
        sendJson(context, await cache.status());
      },
    },
    {
      method: 'POST',
      path: '/cache/verify',
      access: 'admin',
      id: 'verifyCache',
      tag: 'Cache',
      summary: 'Verifies every file now and repairs missing or corrupt ones',
      answers: { 200: json('Findings and repairs', verificationReportSchema) },
      async handle(context, { cache }) {
        sendJson(context, await cache.verify());
      },
    },
  ];
}
