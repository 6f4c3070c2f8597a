import * as z from 'zod';
import { count, digest, errorCode, type Shape, timestamp } from './schema.js';

/** States of a pinned file. `unknown` is one that this process has not looked at yet. */
export const FILE_STATES = ['unknown', 'verified', 'missing', 'corrupt', 'downloading', 'repairing'] as const;

/** Whether the bytes of a file are being fetched. */
export function isUnderWay(state: (typeof FILE_STATES)[number]): boolean {
  return state === 'downloading' || state === 'repairing';
}

export const EVENT_KINDS = [
  'verified',
  'missing',
  'corrupt',
  'quarantined',
  'copied',
  'downloaded',
  'repaired',
  'source_failed',
  'volume',
  'unstable',
  'failed',
] as const;

const problem = z
  .object({ code: errorCode, message: z.string() })
  .meta({ id: 'CacheProblem', description: 'A problem with its code and explanation' });

const paths = z.array(z.string());

export const verificationReportSchema = z
  .object({
    reason: z.string().meta({
      description: 'Trigger: `boot`, `schedule`, `change`, `request` or `retry`',
    }),
    whole: z.boolean().meta({ description: 'Whether every pinned file was verified in the end' }),
    verified: paths,
    missing: paths,
    corrupt: paths,
    fetched: paths,
    started_at: timestamp,
    duration_ms: z.number().min(0),
    healed: z.array(z.object({ path: z.string(), after_ms: z.number().min(0) })).meta({
      description: 'Files that were missing or corrupt and are verified again, with the time that took',
    }),
    failures: z.array(
      z.object({ source: z.string(), path: z.string(), code: errorCode, message: z.string() }),
    ),
    error: problem.nullable(),
  })
  .meta({ id: 'VerificationReport', description: 'Findings and repairs of one verification' });

const fileSchema = z
  .object({
    path: z.string(),
    digest,
    size: count,
    state: z.enum(FILE_STATES),
    bytes: count.meta({ description: 'Bytes downloaded so far' }),
    verified_at: timestamp.nullable(),
    source: z.string().nullable(),
    reason: z.string().nullable().meta({ description: 'Why the file is corrupt or cannot be fetched' }),
  })
  .meta({ id: 'CacheFile', description: 'One pinned file' });

export const cacheStatusSchema = z
  .object({
    volume: z.object({
      path: z.string(),
      mount: z.boolean(),
      writable: z.boolean(),
      free_bytes: z.number().min(0).nullable(),
      total_bytes: z.number().min(0).nullable(),
      problem: problem.nullable(),
    }),
    manifest: z.object({ id: z.string(), revision: z.string(), variant: z.string(), digest }),
    whole: z.boolean().meta({ description: 'Whether every pinned file is verified' }),
    files: z.array(fileSchema),
    verification: z.object({
      running: z.boolean(),
      cron: z.string(),
      last: verificationReportSchema.nullable(),
      next: timestamp.nullable(),
      retry: timestamp.nullable().meta({ description: 'When the next attempt is due after a failed one' }),
      watching: z.boolean(),
    }),
    counters: z.object({
      verifications: count,
      corruptions: count,
      repairs: count,
      downloads: count,
      downloaded_bytes: count,
    }),
    quarantine: z.array(
      z.object({
        name: z.string(),
        path: z.string().nullable(),
        reason: z.string(),
        at: timestamp,
        bytes: count,
      }),
    ),
    events: z.array(
      z.object({
        at: timestamp,
        kind: z.enum(EVENT_KINDS),
        path: z.string().optional(),
        message: z.string(),
      }),
    ),
  })
  .meta({ id: 'CacheStatus', description: 'The volume and its contents' });

/** The body of `GET /cache/status`. */
export type CacheStatus = Shape<typeof cacheStatusSchema>;
/** The outcome of one reconciliation, and the body of `POST /cache/verify`. */
export type VerificationReport = Shape<typeof verificationReportSchema>;
/** A named problem with its explanation. */
export type CacheProblem = Shape<typeof problem>;
/** Something that happened to the cache, for people. */
export type CacheEvent = CacheStatus['events'][number];
