import { createHash } from 'node:crypto';
import type { Manifest, PinnedFile } from '../../cache/manifest.js';
import { BUNDLED, type Source } from '../../cache/source.js';
import { digestFault } from '../../cache/sources/faults.js';
import type { Config } from '../../config/config.js';
import { Fallback } from '../../daemon/fallback.js';
import { closeSources, createSources } from '../../daemon/sources.js';
import { AppError, type ErrorCode, messageOf } from '../../shared/errors.js';
import { formatBytes, formatDuration, pinnedBytes } from '../format.js';
import { type Finding, fault, fine, SILENT, warning } from './checks.js';

/** The rate is measured over this much at most. */
const SAMPLE_BYTES = 8 * 2 ** 20;
const SAMPLE_MS = 3_000;

/** Bounds of these checks. */
export interface DeliveryBounds {
  /** Time for one source to deliver a small file, in milliseconds. */
  readonly timeoutMs: number;
  /** Time that the platform gives a deploy to become healthy, in milliseconds. */
  readonly healthBudgetMs: number;
}

/**
 * Does each source deliver the right bytes of a small file, and is there time for all bytes at the rate that the
 * first good one has?
 */
export async function checkDelivery(
  config: Config,
  manifest: Manifest,
  bounds: DeliveryBounds,
  signal: AbortSignal,
): Promise<Finding[]> {
  const sources = createSources(config, manifest, { holdProcess: true });
  try {
    const bySize = [...manifest.files].sort((a, b) => a.size - b.size);
    const [smallest] = bySize;
    const largest = bySize.at(-1);
    if (sources.length === 0 || !smallest || !largest) {
      return [fault('sources', 'no source is configured', 'set MODEL_SOURCES (and MODEL_MIRRORS)')];
    }
    const tried: { source: Source; ms: number; error: unknown }[] = [];
    for (const source of sources) {
      tried.push({ source, ...(await tryOne(source, smallest, bounds.timeoutMs, signal)) });
    }
    const delivers = tried.some(({ error }) => error === undefined);
    const findings = tried.map(({ source, error, ms }) => {
      const check = `source ${source.name}`;
      if (error === undefined) {
        return fine(check, `${smallest.path}: right bytes in ${formatDuration(ms)}`);
      }
      // Behind the bundled model the hub is asked for nothing, unless that model is damaged.
      const [first] = tried;
      if (source.name === 'hub' && first?.source.name === BUNDLED && first.error === undefined)
        return fine(check, `not reached, and not needed while ${BUNDLED} delivers`);
      // One source that fails is what the others are for.
      return (delivers ? warning : fault)(check, messageOf(error), fixOf(error));
    });
    return [...findings, await checkBudget(sources, largest, manifest, bounds.healthBudgetMs, signal)];
  } finally {
    await closeSources(sources);
  }
}

/** Whether the server of FALLBACK_URL answers, and takes the key. */
export async function checkFallback(
  config: Config,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Finding[]> {
  if (config.fallbackUrl === undefined) return [];
  try {
    const fallback = new Fallback(config.fallbackUrl, config, SILENT);
    await fallback
      .probe(AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]))
      .finally(() => fallback.close());
    return [fine('fallback', `${fallback.address} answers`)];
  } catch (error) {
    return [warning('fallback', messageOf(error), 'check FALLBACK_URL and FALLBACK_API_KEY')];
  }
}

async function tryOne(
  source: Source,
  file: PinnedFile,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<{ ms: number; error: unknown }> {
  const began = performance.now();
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    await deliverWhole(source, file, AbortSignal.any([signal, timeout]));
    return { ms: performance.now() - began, error: undefined };
  } catch (error) {
    const late = timeout.aborted && !signal.aborted;
    const failure = late
      ? new AppError('source_stalled', `${file.path}: not delivered within ${formatDuration(timeoutMs)}`)
      : error;
    return { ms: performance.now() - began, error: failure };
  }
}

async function deliverWhole(source: Source, file: PinnedFile, signal: AbortSignal): Promise<void> {
  for await (const { bytes } of source.deliver([{ file, offset: 0 }], signal)) {
    const hash = createHash('sha256');
    for await (const piece of bytes) hash.update(piece);
    const actual = hash.digest('hex');
    if (actual === file.sha256) return;
    throw digestFault(file.path, actual, file.sha256);
  }
  throw new AppError('source_not_found', `${file.path}: not delivered`);
}

async function checkBudget(
  sources: readonly Source[],
  largest: PinnedFile,
  manifest: Manifest,
  budgetMs: number,
  signal: AbortSignal,
): Promise<Finding> {
  for (const source of sources) {
    const rate = await measure(source, largest, signal).catch(() => undefined);
    if (rate === undefined) continue;
    const neededMs = (pinnedBytes(manifest) / rate) * 1_000;
    const detail =
      `a first download of ${formatBytes(pinnedBytes(manifest))} takes ${formatDuration(neededMs)} at the ` +
      `${formatBytes(Math.round(rate))}/s of ${source.name}; the health check allows ${formatDuration(budgetMs)}`;
    if (neededMs <= budgetMs / 2) return fine('health budget', detail);
    const fix =
      'raise healthcheckTimeout, put a nearer mirror first (MODEL_MIRRORS), or bake the model into the image';
    return (neededMs <= budgetMs ? warning : fault)('health budget', detail, fix);
  }
  return fault('health budget', `no source delivers ${largest.path}`, 'mend one of the sources above');
}

/** Bytes per second of the beginning of a file. */
async function measure(source: Source, file: PinnedFile, signal: AbortSignal): Promise<number | undefined> {
  const until = AbortSignal.any([signal, AbortSignal.timeout(SAMPLE_MS)]);
  const began = performance.now();
  let received = 0;
  let last = began;
  try {
    for await (const { bytes } of source.deliver([{ file, offset: 0 }], until)) {
      for await (const piece of bytes) {
        received += piece.length;
        last = performance.now();
        if (received >= SAMPLE_BYTES) break;
      }
      break;
    }
  } catch (error) {
    // The end of the sample's time is no failure; what came until then counts.
    if (!until.aborted) throw error;
    last = performance.now();
  }
  return received === 0 ? undefined : (received / Math.max(1, last - began)) * 1_000;
}

function fixOf(error: unknown): string {
  const fixes: Partial<Record<ErrorCode, string>> = {
    source_not_found: 'put the pinned files there, or take it out of MODEL_SOURCES / MODEL_MIRRORS',
    source_unauthorized:
      'give it credentials (HF_TOKEN, or user and signature in the URL; signatures expire)',
    source_rate_limited: 'wait, use a token, or put a mirror of your own first',
    source_unreachable: 'check the address, name resolution and outgoing connections from here',
    source_stalled: 'check the way to it; it is silent or too slow',
    source_wrong_bytes:
      'it holds other bytes than the pinned ones: upload the files again (a clone needs Git LFS)',
    source_too_large: 'it holds other bytes than the pinned ones: upload the files again',
    source_refused: 'check what this address answers; a proxy or a login page may be in between',
  };
  return (error instanceof AppError ? fixes[error.code] : undefined) ?? 'look at the message';
}
