import { createHash } from 'node:crypto';
import type { ScoringMethod } from '../../config/parsers.js';
import type { Route, RouteSet } from '../../routes/set.js';
import { compareText } from '../../shared/closest.js';
import { throwIfAborted } from '../../shared/concurrent.js';
import { AppError, messageOf } from '../../shared/errors.js';
import { sentencesOf } from '../labels.js';
import { BACKGROUND, backgroundOf } from '../noise.js';
import type { RouteVectors } from '../row-matrix.js';
import type { CreateScorer, Encoder } from '../scorer.js';
import { similarityScoring } from '../similarity-scorer.js';
import { embedLists, rowsOf } from '../vectors.js';
import { HEAD_DEFAULTS } from './calibration.js';
import { HEAD_VERSION, type Head } from './fit.js';
import { decodeHead, encodeHead, headDigest } from './head-cache.js';
import { HeadScorer } from './head-scorer.js';
import { Trainer } from './trainer.js';

/** Options of {@link headScoring}. */
export interface HeadScoringOptions {
  /** For sets that name none. Default: `auto`. */
  readonly method?: ScoringMethod;
  /** The compiled `head-worker.js`. */
  readonly workerEntry?: URL;
  /** Told what a set is scored by, and of faults that cost nothing but time. */
  readonly onReport?: (report: HeadReport) => void;
}

/** Result for one set. */
export interface HeadReport {
  readonly method: 'head' | 'nearest';
  /** Why `nearest`, where a head was wanted. */
  readonly reason?: string;
  readonly trained: boolean;
  readonly trainMs: number;
  readonly threshold: number;
  /** Why heads could not be read from or kept in the cache. */
  readonly cacheFault?: string;
}

const nearest = similarityScoring();

/**
 * Makes scorers with a trained head. A set that was trained before, with this model and version, is not
 * trained again. `auto` serves a set by its nearest utterances where there is too little to train on, too
 * much, or where training fails; `head` refuses it.
 * @throws AppError `routes_invalid` for a set that cannot have a head with method `head`; `aborted`
 */
export function headScoring(options: HeadScoringOptions = {}): CreateScorer {
  const { onReport } = options;
  return async (set, vectors, context) => {
    const method = set.method ?? options.method ?? 'auto';
    const byNearest = async (reason?: string) => {
      const scorer = await nearest(set, vectors, context);
      const threshold = scorer.defaultThreshold;
      onReport?.({ method: 'nearest', ...(reason && { reason }), trained: false, trainMs: 0, threshold });
      return scorer;
    };
    if (method === 'nearest') return byNearest();
    const reason = reasonNotTrainable(set);
    if (reason !== undefined) {
      if (method === 'head') throw notTrainable(set, reason);
      return byNearest(reason);
    }
    try {
      return await headScorer(set, vectors, context, options);
    } catch (error) {
      throwIfAborted(context.signal);
      if (method === 'head' || !(error instanceof AppError) || error.code !== 'internal') throw error;
      return byNearest(messageOf(error));
    }
  };
}

/**
 * Refuses a set that cannot be scored by the method that is wanted.
 * @param method for sets that name none
 * @throws AppError `routes_invalid`
 */
export function requireScorable(set: RouteSet, method: ScoringMethod): void {
  if ((set.method ?? method) !== 'head') return;
  const reason = reasonNotTrainable(set);
  if (reason !== undefined) throw notTrainable(set, reason);
}

/** Names what demands the head: the set itself, or else the setting. */
function notTrainable(set: RouteSet, reason: string): AppError {
  const path = set.method === 'head' ? 'method' : '';
  const message = path === '' ? `CLASSIFY_METHOD=head: ${reason}` : `cannot be "head": ${reason}`;
  return new AppError('routes_invalid', path === '' ? message : `method: ${message}`, {
    issues: [{ path, message }],
  });
}

async function headScorer(
  set: RouteSet,
  vectors: RouteVectors | Promise<RouteVectors>,
  { signal, encoder }: Parameters<CreateScorer>[2],
  { workerEntry, onReport }: HeadScoringOptions,
): Promise<HeadScorer> {
  const { heads, embedder } = encoder;
  const { dimension } = embedder;
  // Behind these are those of noise, of which a head knows nothing.
  const background = (await backgroundOf(encoder)).slice(0, BACKGROUND.length * dimension);
  const key = keyOf(set, encoder, background);
  const none = set.none.length > 0;
  const shape = { routes: set.routes.length + (none ? 1 : 0), dimension, none };
  const found = heads ? await heads.get(key) : {};
  let { fault: cacheFault, head: encoded } = found;
  let head: Head | undefined;
  try {
    if (encoded) head = decodeHead(encoded, shape);
  } catch (error) {
    cacheFault = messageOf(error);
  }
  let trainMs: number | undefined;
  if (!encoded || !head) {
    ({ encoded, trainMs } = await trainHead(set, vectors, { encoder, signal, background, workerEntry }));
    head = decodeHead(encoded, shape);
    try {
      await heads?.put(key, encoded);
    } catch (error) {
      cacheFault = messageOf(error);
    }
  }
  const order = new Uint32Array(set.routes.length);
  for (const [row, route] of canonical(set).entries()) order[set.indexOf.get(route.name) ?? 0] = row;
  onReport?.({
    method: 'head',
    trained: trainMs !== undefined,
    trainMs: trainMs ?? 0,
    threshold: head.threshold,
    ...(cacheFault !== undefined && { cacheFault }),
  });
  return new HeadScorer(head, await vectors, order, headDigest(encoded));
}

/** Whatever decides about a head: the routes, the bytes and the runtime of the model, the version, the background. */
function keyOf(set: RouteSet, { model, modelKey }: Encoder, background: Float32Array): string {
  const hash = createHash('sha256');
  hash.update([set.digest, model.digest, modelKey ?? '', HEAD_VERSION, ...BACKGROUND].join('\n'));
  hash.update(Buffer.from(background.buffer, background.byteOffset, background.byteLength));
  return hash.digest('hex');
}

/** The digest of a set says nothing about order, so a head must not depend on it: routes by name. */
function canonical(set: RouteSet): Route[] {
  return [...set.routes].sort((a, b) => compareText(a.name, b.name));
}

interface TrainingOptions {
  readonly encoder: Encoder;
  readonly background: Float32Array;
  readonly signal: AbortSignal | undefined;
  readonly workerEntry: URL | undefined;
}

/**
 * Trains the head of a set in a process of its own.
 * @returns the encoded head, and how long that took with the vectors there
 * @throws what `vectors` does; AppError `aborted`, `internal` when training failed
 */
async function trainHead(
  set: RouteSet,
  vectors: RouteVectors | Promise<RouteVectors>,
  { encoder, background, signal, workerEntry }: TrainingOptions,
): Promise<{ readonly encoded: Uint8Array; readonly trainMs: number }> {
  const routes = canonical(set);
  const names = routes.map(({ name, description }) => {
    const texts = sentencesOf(name, description).map((text) => text.trim());
    return texts.filter((text) => text !== '');
  });
  const utterances = routes.map((route) => [...route.utterances].sort(compareText));
  const none = set.none.length > 0;
  // A class of its own, of which no name is known.
  if (none) utterances.push([...set.none].sort(compareText));
  const texts = {
    routes: utterances.length,
    none,
    texts: [...utterances.flat(), ...names.flat(), ...BACKGROUND],
    labels: labelsOf(utterances),
    nameLabels: labelsOf(names),
  };
  let trainer = new Trainer(texts, workerEntry);
  try {
    const { embedder, auxiliary } = encoder;
    const [embedded, ofNames] = await Promise.all([
      vectors,
      embedLists(names, embedder, { signal, cache: auxiliary }),
    ]);
    const started = performance.now();
    const problem = {
      dimension: embedder.dimension,
      utterances: rowsOf(embedded, utterances.flat()),
      names: rowsOf(ofNames, names.flat()),
      background,
    };
    const head = await trainer.train(problem, signal).catch((error: unknown) => {
      if (!(error instanceof AppError && error.code === 'internal' && error.retryable)) throw error;
      trainer = new Trainer(texts, workerEntry);
      return trainer.train(problem, signal);
    });
    return { encoded: encodeHead(head), trainMs: Math.round(performance.now() - started) };
  } finally {
    trainer.close();
  }
}

function labelsOf(texts: readonly (readonly string[])[]): Uint32Array {
  return Uint32Array.from(texts.flatMap((list, route) => list.map(() => route)));
}

/**
 * Returns why a set cannot have a head, with what to do about it, or `undefined` where there is enough to train on,
 * and not too much: see {@link HEAD_DEFAULTS}.
 */
export function reasonNotTrainable({
  routes,
  none,
}: {
  readonly routes: readonly { readonly utterances: readonly string[] }[];
  readonly none: readonly string[];
}): string | undefined {
  const { smallRoute, mostSmall, mostWork } = HEAD_DEFAULTS;
  const rows = routes.reduce((sum, { utterances }) => sum + utterances.length, none.length);
  const small = routes.filter(({ utterances }) => utterances.length < smallRoute).length;
  const instead = 'or let the method be "auto" or "nearest"';
  if (routes.length < 2) return `a head needs two routes or more; add another one, ${instead}`;
  if (small > mostSmall * routes.length) {
    return `a head needs ${smallRoute} utterances or more in at least half of the routes, and ${small} of ${routes.length} have fewer; add some, ${instead}`;
  }
  if (rows * routes.length <= mostWork) return undefined;
  return `${rows} utterances × ${routes.length} routes would take minutes to train (at most ${mostWork}); remove some, ${instead}`;
}
