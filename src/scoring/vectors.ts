import { setTimeout as sleep } from 'node:timers/promises';
import { type Embedder, type Embedding, TEXTS_UNDER_WAY } from '../inference/embedder.js';
import { createRouteSet, type RouteSet } from '../routes/set.js';
import { mapConcurrent, throwIfAborted } from '../shared/concurrent.js';
import { AppError, messageOf } from '../shared/errors.js';
import { type RouteVectors, RowMatrix } from './row-matrix.js';
import type { VectorCache } from './vector-cache.js';

/** Options of {@link embedRoutes}. */
export interface EmbedRoutesOptions {
  readonly signal?: AbortSignal | undefined;
  /** The client that waits for it; clients take turns at the model. */
  readonly client?: string | undefined;
  /** Called after every utterance that had to be embedded. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Vectors of an earlier set made by the same embedder; its utterances are not embedded again. */
  readonly previous?: RouteVectors | undefined;
  /** Vectors that outlive the process. Its faults cost time, never the set. */
  readonly cache?: VectorCache | undefined;
  /** Texts under way at once. Default: {@link TEXTS_UNDER_WAY}. */
  readonly concurrency?: number;
  /** Whether the set is one of many that come and go, see {@link RowMatrix}. */
  readonly shortLived?: boolean;
}

/** Result of {@link embedRoutes}. Counts are of distinct utterances. */
export interface EmbedRoutesReport {
  readonly embedded: number;
  /** Taken from `previous`. */
  readonly reused: number;
  /** Taken from `cache`. */
  readonly cached: number;
  /** Those of the embedded ones that have no tokens, such as a zero-width space. */
  readonly empty: readonly string[];
  /** Why the cache could not be read or written, if it could not. */
  readonly cacheFault: string | undefined;
}

/** Waits between attempts while the embedder is busy with requests, in milliseconds. */
const BUSY_WAIT_MS = { first: 20, longest: 1_000 } as const;
/** A worker that died is replaced; more deaths over one text than this are no accident. */
const MAX_WORKER_FAILURES = 3;

/**
 * Embeds all utterances of a set, each distinct one once.
 * @throws AppError `aborted`, or what the embedder throws; it waits out `overloaded`
 */
export async function embedRoutes(
  set: RouteSet,
  embedder: Embedder,
  options: EmbedRoutesOptions = {},
): Promise<{ readonly vectors: RouteVectors; readonly report: EmbedRoutesReport }> {
  const { previous, cache, signal } = options;
  throwIfAborted(signal);
  const { dimension } = embedder;
  const known = new Map<string, Float32Array>();
  const texts = new Set([...set.routes.flatMap((route) => route.utterances), ...set.none]);

  if (previous?.matrix.dimension === dimension) {
    for (const text of texts) {
      const row = previous.rowOf.get(text);
      if (row !== undefined) known.set(text, previous.matrix.row(row));
    }
  }
  const reused = known.size;

  let cacheFault: string | undefined;
  const unknown = [...texts].filter((text) => !known.has(text));
  if (cache && unknown.length > 0) {
    try {
      const found = await cache.get(unknown, texts.size);
      cacheFault = found.fault;
      for (const [text, vector] of found.vectors) if (vector.length === dimension) known.set(text, vector);
    } catch (error) {
      cacheFault = messageOf(error);
    }
  }
  const cached = known.size - reused;

  const missing = unknown.filter((text) => !known.has(text));
  const empty: string[] = [];
  let done = 0;
  await mapConcurrent(
    missing,
    options.concurrency ?? TEXTS_UNDER_WAY,
    async (text, stop) => {
      const asker = { client: options.client, signal: stop };
      const { vector, legibility } = await embedPatiently(embedder, text, asker);
      known.set(text, vector);
      if (legibility === 'empty') empty.push(text);
      done += 1;
      options.onProgress?.(done, missing.length);
    },
    signal,
  );

  const rows = set.utteranceCount + set.none.length;
  const vectors = arrange(set, known, new RowMatrix(rows, dimension, options));
  if (cache && missing.length > 0) {
    try {
      await cache.put(known);
    } catch (error) {
      cacheFault = messageOf(error);
    }
  }
  throwIfAborted(signal);
  return { vectors, report: { embedded: missing.length, reused, cached, empty, cacheFault } };
}

/**
 * Embeds lists of texts like the utterances of routes.
 * @throws as {@link embedRoutes}
 */
export async function embedLists(
  lists: readonly (readonly string[])[],
  embedder: Embedder,
  options: EmbedRoutesOptions,
): Promise<RouteVectors> {
  const set = createRouteSet(
    lists.map((texts, index) => ({
      name: String(index),
      description: undefined,
      utterances: [...texts],
      scoreThreshold: undefined,
      metadata: undefined,
    })),
  );
  return (await embedRoutes(set, embedder, options)).vectors;
}

/** Returns the vectors of texts, one after the other: texts × dimension. */
export function rowsOf({ matrix, rowOf }: RouteVectors, texts: readonly string[]): Float32Array {
  const rows = new Float32Array(texts.length * matrix.dimension);
  for (const [index, text] of texts.entries()) {
    const row = rowOf.get(text);
    if (row === undefined) throw new AppError('internal', 'a text was not embedded');
    rows.set(matrix.row(row), index * matrix.dimension);
  }
  return rows;
}

async function embedPatiently(
  embedder: Embedder,
  text: string,
  asker: { readonly client: string | undefined; readonly signal: AbortSignal },
): Promise<Embedding> {
  const { signal } = asker;
  let wait: number = BUSY_WAIT_MS.first;
  for (let failures = 0; ; ) {
    try {
      const embedding = await embedder.embed(text, asker);
      const { vector } = embedding;
      if (vector.length !== embedder.dimension || !vector.every(Number.isFinite)) {
        throw new AppError('worker_failed', `an utterance was embedded as something else than a vector`);
      }
      return embedding;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.code === 'worker_failed' && error.retryable && failures < MAX_WORKER_FAILURES) failures += 1;
      else if (error.code !== 'overloaded') throw error;
      await sleep(error.retryAfterMs ?? wait, undefined, { signal }).catch(() => throwIfAborted(signal));
      wait = Math.min(2 * wait, BUSY_WAIT_MS.longest);
    }
  }
}

function arrange(set: RouteSet, known: ReadonlyMap<string, Float32Array>, matrix: RowMatrix): RouteVectors {
  const offsets = new Uint32Array(set.routes.length + 1);
  const rowOf = new Map<string, number>();
  let row = 0;
  const add = (text: string): void => {
    const vector = known.get(text);
    if (!vector) throw new AppError('internal', 'an utterance was not embedded');
    matrix.row(row).set(vector);
    rowOf.set(text, row);
    row += 1;
  };
  for (const [index, route] of set.routes.entries()) {
    for (const text of route.utterances) add(text);
    offsets[index + 1] = row;
  }
  for (const text of set.none) add(text);
  return { matrix, offsets, rowOf };
}
