import type { HealthReport } from '../api/health.js';
import type { LintReport } from '../api/lint.js';
import type { CacheEvent, FileState } from '../cache/cache-state.js';

export type { Candidate, Decision } from '../api/classify.js';
export type { Finding, LintReport } from '../api/lint.js';
export type { RouteVersion } from '../routes/versions.js';

/** The body of `GET /health`. */
export type Health = Omit<HealthReport, 'ready'>;

/** What this page reads of `GET /cache/status`. */
export interface CacheStatus {
  readonly volume: {
    readonly path: string;
    readonly mount: boolean;
    readonly writable: boolean;
    readonly free_bytes: number | null;
    readonly total_bytes: number | null;
    readonly problem: { readonly code: string; readonly message: string } | null;
  };
  readonly manifest: {
    readonly id: string;
    readonly revision: string;
    readonly variant: string;
    readonly digest: string;
  };
  readonly whole: boolean;
  readonly files: readonly CacheFile[];
  readonly verification: {
    readonly running: boolean;
    readonly cron: string;
    readonly last: VerifyReport | null;
    readonly next: string | null;
    readonly retry: string | null;
  };
  readonly counters: Readonly<Record<'verifications' | 'corruptions' | 'repairs' | 'downloads', number>> & {
    readonly downloaded_bytes: number;
  };
  readonly quarantine: readonly {
    readonly path: string | null;
    readonly reason: string;
    readonly at: string;
  }[];
  readonly events: readonly CacheEvent[];
}

/** One pinned file in {@link CacheStatus}. */
export interface CacheFile {
  readonly path: string;
  readonly digest: string;
  readonly size: number;
  readonly state: FileState;
  readonly bytes: number;
  readonly verified_at: string | null;
  readonly source: string | null;
  readonly reason: string | null;
}

/** What one verification did; the body of `POST /cache/verify`. */
export interface VerifyReport {
  readonly reason: string;
  readonly started_at: string;
  readonly duration_ms: number;
  readonly whole: boolean;
  readonly corrupt: readonly string[];
  readonly missing: readonly string[];
  readonly fetched: readonly string[];
  readonly error: { readonly code: string; readonly message: string } | null;
}

/** One route, as `GET /routes` shows it and `PUT /routes` takes it. */
export interface Route {
  readonly name: string;
  readonly description?: string;
  readonly utterances: readonly string[];
  readonly score_threshold?: number;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** The body of `GET /routes`. */
export interface RouteSet {
  readonly digest: string;
  readonly source: RouteSource;
  readonly problem: string | null;
  readonly utterances: number;
  readonly routes: readonly Route[];
}

/** Whence the served routes come. */
export type RouteSource = { readonly file: { readonly name: string } } & (
  | { readonly kind: 'file' }
  | { readonly kind: 'version'; readonly version: number }
);

/** The body of `POST /routes/lint`. */
export interface DraftReport extends LintReport {
  readonly warnings: readonly { readonly path: string; readonly message: string }[];
}
