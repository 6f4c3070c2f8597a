import { createHash } from 'node:crypto';
import type { ScoringMethod } from '../../config/parsers.js';
import { compareText } from '../../routes/closest.js';
import { createRouteSet, type Route, type RouteSet } from '../../routes/route-set.js';
import { throwIfAborted } from '../../shared/concurrent.js';
import { AppError, messageOf } from '../../shared/errors.js';
import type { Encoder } from '../encoder.js';
import { sentencesOf } from '../labels.js';
import type { CreateScorer } from '../scorer.js';
import { similarityScoring } from '../similarity-scorer.js';
import { embedRoutes, type RouteVectors } from '../vectors.js';
import { BACKGROUND } from './background.js';
import type { HeadProblem } from './fit-head.js';
import { decodeHead, headDigest } from './head-codec.js';
import { HeadScorer } from './head-scorer.js';
import { trainHead } from './head-trainer.js';
import { HEAD_VERSION, untrainable } from './sizes.js';

/** Options of {@link headScoring}. */
export interface HeadScoringOptions {
  /** For sets that name none. Default: `auto`. */
  readonly method?: ScoringMethod;
  /** The compiled `head-worker.js`. */
  readonly workerEntry?: URL;
  /** Told what a set is scored by, and of faults that cost nothing but time. */
  readonly onReport?: (report: HeadReport) => void;
}

/** What came of one set. */
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
    const reason = untrainable(set.routes);
    if (reason !== undefined) {
      if (method === 'head') throw untrainableError(reason);
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
  const reason = untrainable(set.routes);
  if (reason !== undefined) throw untrainableError(reason);
}

/** A set that names the method itself is refused when it is read, so here it is the setting that asks for it. */
function untrainableError(reason: string): AppError {
  const message = `CLASSIFY_METHOD=head: ${reason}`;
  return new AppError('routes_invalid', message, { issues: [{ path: '', message }] });
}

async function headScorer(
  set: RouteSet,
  vectors: RouteVectors,
  { signal, encoder }: Parameters<CreateScorer>[2],
  { workerEntry, onReport }: HeadScoringOptions,
): Promise<HeadScorer> {
  const background = await encoder.background?.();
  const { heads } = encoder;
  const key = keyOf(set, encoder, background);
  const found = heads ? await heads.get(key) : {};
  let { fault: cacheFault } = found;
  let encoded = found.head;
  const started = performance.now();
  if (!encoded) {
    const problem = await problemOf(set, vectors, encoder, background, signal);
    encoded = await trainHead(problem, { ...(signal && { signal }), ...(workerEntry && { workerEntry }) });
    try {
      await heads?.put(key, encoded);
    } catch (error) {
      cacheFault = messageOf(error);
    }
  }
  const head = decodeHead(encoded);
  const order = new Uint32Array(set.routes.length);
  for (const [row, route] of canonical(set).entries()) order[set.indexOf.get(route.name) ?? 0] = row;
  onReport?.({
    method: 'head',
    trained: found.head === undefined,
    trainMs: found.head === undefined ? Math.round(performance.now() - started) : 0,
    threshold: head.threshold,
    ...(cacheFault !== undefined && { cacheFault }),
  });
  return new HeadScorer(head, vectors, order, headDigest(encoded));
}

/** Whatever decides about a head: the routes, the bytes and the runtime of the model, the version, the background. */
function keyOf(set: RouteSet, { model, modelKey }: Encoder, background: Float32Array | undefined): string {
  const hash = createHash('sha256');
  hash.update([set.digest, model.digest, modelKey ?? '', HEAD_VERSION, ...BACKGROUND].join('\n'));
  if (background) hash.update(Buffer.from(background.buffer, background.byteOffset, background.byteLength));
  return hash.digest('hex');
}

/** The digest of a set says nothing about order, so a head must not depend on it: routes by name. */
function canonical(set: RouteSet): Route[] {
  return [...set.routes].sort((a, b) => compareText(a.name, b.name));
}

async function problemOf(
  set: RouteSet,
  vectors: RouteVectors,
  encoder: Encoder,
  background: Float32Array | undefined,
  signal: AbortSignal | undefined,
): Promise<HeadProblem> {
  const routes = canonical(set);
  const names = routes.map(({ name, description }) => {
    const texts = sentencesOf(name, description).map((text) => text.trim());
    return texts.filter((text) => text !== '');
  });
  const { embedder, auxiliary } = encoder;
  const extra = await embedRoutes(plainSet(background ? names : [...names, BACKGROUND]), embedder, {
    ...(signal && { signal }),
    ...(auxiliary && { cache: auxiliary }),
  });
  const { dimension } = vectors.matrix;
  const utterances = routes.map((route) => [...route.utterances].sort(compareText));
  return {
    dimension,
    routes: routes.length,
    utterances: gather(vectors, utterances),
    labels: labelsOf(utterances),
    names: gather(extra.vectors, names),
    nameLabels: labelsOf(names),
    background: background ?? gather(extra.vectors, [BACKGROUND]),
  };
}

/** Texts as a set that can be embedded like one. */
function plainSet(texts: readonly (readonly string[])[]): RouteSet {
  return createRouteSet(
    texts.map((utterances, index) => ({
      name: String(index),
      description: undefined,
      utterances: [...utterances],
      scoreThreshold: undefined,
      metadata: undefined,
    })),
  );
}

function gather({ matrix, rowOf }: RouteVectors, texts: readonly (readonly string[])[]): Float32Array {
  const all = texts.flat();
  const rows = new Float32Array(all.length * matrix.dimension);
  for (const [index, text] of all.entries()) {
    const row = rowOf.get(text);
    if (row === undefined) throw new AppError('internal', 'a text of the head was not embedded');
    rows.set(matrix.row(row), index * matrix.dimension);
  }
  return rows;
}

function labelsOf(texts: readonly (readonly string[])[]): Uint32Array {
  return Uint32Array.from(texts.flatMap((list, route) => list.map(() => route)));
}
