import { type CacheStatus, isUnderWay } from '../api/cache.js';
import type { Check, HealthReport, Phase } from '../api/health.js';
import { BUNDLED } from '../cache/source.js';
import { RouteLeader } from '../routes/leader.js';
import type { AppError } from '../shared/errors.js';
import type { Parts } from './parts.js';

export interface BootState {
  readonly phase: Phase;
  readonly loadError: AppError | undefined;
  readonly warming: { readonly done: number; readonly total: number } | undefined;
  readonly uptimeMs: number;
}

/** The phase of the boot as a person wants to know it: what is done about the model, and about the routes. */
export function phaseOf({ reconciler, sources }: Parts, phase: Phase, warming: BootState['warming']): Phase {
  if (phase === 'warming' && warming && warming.done === warming.total) return 'training';
  if (phase !== 'verifying') return phase;
  if (reconciler.retryAt !== undefined) return 'waiting';
  const { files, bytesBySource } = reconciler.state;
  if (![...files.values()].some(({ state }) => isUnderWay(state))) return phase;
  const isLocal = [...bytesBySource.keys()].every((source) => source === BUNDLED);
  return isLocal && sources[0]?.name === BUNDLED ? 'copying' : 'downloading';
}

/** The body of `/health`: the state of each part, and whether a classification would succeed. */
export function healthOf(parts: Parts, state: BootState): HealthReport {
  const { pool, classifier, version } = parts;
  const checks = {
    volume: volumeCheck(parts),
    cache: cacheCheck(parts),
    model: modelCheck(parts, state),
    routes: routesCheck(parts, state),
  };
  const draining = state.phase === 'draining';
  const ready = state.phase === 'ready' && pool.status().ready && classifier.active !== undefined;
  const allChecksOk = Object.values(checks).every(({ ok }) => ok);
  return {
    status: draining ? 'draining' : !ready ? 'starting' : allChecksOk ? 'ready' : 'degraded',
    ready,
    phase: state.phase,
    progress: progressOf(parts, state),
    checks,
    uptime_s: Math.round(state.uptimeMs / 100) / 10,
    version,
  };
}

function volumeCheck({ reconciler }: Parts): Check {
  const problem = reconciler.volumeProblem;
  return problem ? { ok: false, code: problem.code, detail: problem.message } : { ok: true };
}

function cacheCheck({ reconciler }: Parts): Check {
  const { state: cache, lastReport, retryAt } = reconciler;
  if (cache.whole) return { ok: true };
  const open = [...cache.files.values()].filter(({ state }) => state !== 'verified');
  const detail = open
    .map(({ path, state, reason }) => `${path}: ${state}${reason ? ` (${reason})` : ''}`)
    .join('; ');
  const error = lastReport?.error;
  const next = retryAt === undefined ? undefined : `next attempt at ${new Date(retryAt).toISOString()}`;
  return {
    ok: false,
    detail: [detail, error?.message, next].filter((part) => part !== undefined).join('; '),
    ...(error && { code: error.code }),
  };
}

function modelCheck({ pool, manifest }: Parts, { loadError }: BootState): Check {
  const { ready, workers } = pool.status();
  if (loadError) return { ok: false, code: loadError.code, detail: loadError.message };
  if (!ready) return { ok: false, code: 'not_ready', detail: 'no worker has passed the canary yet' };
  const fit = workers.filter(({ state }) => state === 'ready').length;
  // The others start once the first is ready, which is no problem; a lost one is.
  const lost = workers.some(
    ({ state, restarts }) => state === 'restarting' || (state !== 'ready' && restarts > 0),
  );
  const alone = !manifest.embedding.batch_sensitive && workers.some(({ batches }) => batches === false);
  const note = alone ? '; texts do not share passes: on this processor that would change vectors' : '';
  return { ok: !lost, detail: `${fit} of ${workers.length} workers${note}` };
}

/** Reason why the routes are not served, by the phase. */
const WAITING: Partial<Record<Phase, string>> = {
  warming: 'their utterances are embedded',
  training: 'their utterances are embedded, and the scorer is trained',
};

function routesCheck({ routeFile, catalogue }: Parts, { phase }: BootState): Check {
  const { error, file } = routeFile.status();
  const { served, problem } = catalogue;
  const age = routeFile instanceof RouteLeader ? routeFile.ageSeconds : undefined;
  const facts = { ...(served && { digest: served.set.digest }), ...(age !== undefined && { age_s: age }) };
  if (error) return { ok: false, code: error.code, detail: error.message, ...facts };
  if (problem) return { ok: false, code: 'blob_corrupt', detail: problem, ...facts };
  if (!served) return { ok: false, code: 'not_ready', detail: WAITING[phase] ?? 'they wait for the model' };
  const from = served.version ? `version ${served.version.version} on top of ${file}` : file;
  return { ok: true, detail: `${served.set.routes.length} routes of ${from}`, ...facts };
}

function progressOf({ reconciler }: Parts, { phase, warming }: BootState): HealthReport['progress'] {
  if (phase === 'warming' && warming) return { ...warming, unit: 'utterances' };
  if (!['verifying', 'copying', 'downloading'].includes(phase)) return null;
  const files = [...reconciler.state.files.values()];
  const sum = (of: (file: (typeof files)[number]) => number): number =>
    files.reduce((all, file) => all + of(file), 0);
  return { done: sum(({ bytes }) => bytes), total: sum(({ size }) => size), unit: 'bytes' };
}

/** The body of `/cache/status`. */
export async function cacheStatusOf({
  config,
  manifest,
  store,
  reconciler,
  triggers,
}: Parts): Promise<CacheStatus> {
  const { state: cache, lastReport, volumeProblem } = reconciler;
  const [facts, quarantine] = await Promise.all([store.facts(), store.quarantined().catch(() => [])]);
  return {
    volume: { ...facts, problem: volumeProblem ?? null },
    manifest: {
      id: manifest.repo,
      revision: manifest.revision,
      variant: manifest.variant,
      digest: manifest.digest,
    },
    whole: cache.whole,
    files: [...cache.files.values()].map((file) => ({
      path: file.path,
      digest: `sha256:${file.sha256}`,
      size: file.size,
      state: file.state,
      bytes: file.bytes,
      verified_at: file.verifiedAt ?? null,
      source: file.source ?? null,
      reason: file.reason ?? null,
    })),
    verification: {
      running: reconciler.busy,
      cron: config.verifyCron,
      last: lastReport ?? null,
      next: triggers.nextRun?.toISOString() ?? null,
      retry: reconciler.retryAt === undefined ? null : new Date(reconciler.retryAt).toISOString(),
      watching: triggers.watching,
    },
    counters: cache.counters,
    quarantine,
    events: cache.events,
  };
}
