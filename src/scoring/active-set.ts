import type { Candidate, ClassifyBody, Decision, RouteMatch } from '../api/classify.js';
import type { Embedding } from '../inference/embedder.js';
import type { JsonObject, RouteSet } from '../routes/set.js';
import { compareText, didYouMean } from '../shared/closest.js';
import { AppError, type FieldIssue } from '../shared/errors.js';
import { familiarity, type Noise } from './noise.js';
import { type RouteVectors, VECTORS_AT_ONCE } from './row-matrix.js';
import { createRouteScores, type Encoder, type RouteScores, type Scorer } from './scorer.js';

/** Options of a classification, as they stand in a request. */
export type ClassifyOptions = Omit<ClassifyBody, 'text' | 'messages'>;

/** Candidates in an answer where the request does not say. */
export const DEFAULT_TOP_K = 3;
/** Utterances per candidate that `explain` shows. */
export const NEAREST_SHOWN = 3;
/** Names that an error about unknown routes lists, at most. */
const MAX_UNKNOWN_SHOWN = 10;

/** The part of a decision that depends on vectors and routes alone. */
export type Verdict = Pick<Decision, 'route' | 'score' | 'similarity' | 'candidates'> & {
  /** Where the request asked for several. */
  readonly routes: Decision['routes'] | undefined;
  readonly route_metadata: JsonObject | undefined;
  /** False where the model cannot read the text. */
  readonly legible: boolean;
};

/** Options of {@link ActiveSet}. */
export interface ActiveSetOptions {
  /** Default: the scorer's. */
  readonly defaultThreshold?: number | undefined;
  readonly noise?: Noise | undefined;
  /** Whether the routes are labels without examples. */
  readonly named?: boolean;
}

/** A text that is judged together with others. */
interface Waiting {
  readonly text: string;
  readonly embedding: Pick<Embedding, 'vector' | 'legibility'>;
  readonly candidates: Uint32Array | undefined;
  readonly options: ClassifyOptions;
  resolve(judged: { readonly verdict: Verdict; readonly ms: number }): void;
  reject(error: unknown): void;
}

/** A route set that is ready to judge vectors. Replaced as a whole, never changed. */
export class ActiveSet {
  /** The model that made the vectors and has to embed what they are compared with. */
  readonly encoder: Encoder;
  readonly set: RouteSet;
  readonly vectors: RouteVectors;
  readonly scorer: Scorer;
  readonly #scores: RouteScores;
  readonly #all: Uint32Array;
  readonly #defaultThreshold: number;
  /** Of each route, where the request says nothing. */
  readonly #thresholds: Float64Array;
  readonly #noise: Noise | undefined;
  readonly #named: boolean;
  #waiting: Waiting[] = [];

  constructor(
    encoder: Encoder,
    set: RouteSet,
    vectors: RouteVectors,
    scorer: Scorer,
    { defaultThreshold, noise, named = false }: ActiveSetOptions = {},
  ) {
    this.encoder = encoder;
    this.set = set;
    this.vectors = vectors;
    this.scorer = scorer;
    this.#scores = createRouteScores(set.routes.length);
    this.#all = Uint32Array.from(set.routes.keys());
    this.#defaultThreshold = defaultThreshold ?? scorer.defaultThreshold;
    this.#thresholds = Float64Array.from(
      set.routes,
      ({ scoreThreshold }) => scoreThreshold ?? this.#defaultThreshold,
    );
    this.#noise = noise;
    this.#named = named;
  }

  /** Lowest score with which a route is chosen where neither the request nor the route says otherwise. */
  get defaultThreshold(): number {
    return this.#defaultThreshold;
  }

  /**
   * The indexes of these routes.
   * @throws AppError `unknown_route`, naming each and what may have been meant
   */
  candidatesOf(names: readonly string[]): Uint32Array {
    const indexes = new Set<number>();
    const issues: FieldIssue[] = [];
    for (const [position, name] of names.entries()) {
      const index = this.set.indexOf.get(name);
      if (index !== undefined) indexes.add(index);
      else if (issues.length < MAX_UNKNOWN_SHOWN) {
        const hint = didYouMean(name.slice(0, 128), this.set.indexOf.keys());
        issues.push({ path: `routes[${position}]`, message: `there is no route "${name}"${hint}` });
      }
    }
    if (issues.length > 0) {
      throw new AppError('unknown_route', issues.map(({ message }) => message).join('; '), { issues });
    }
    return Uint32Array.from(indexes).sort();
  }

  /**
   * Judges one text. Candidates are ordered by score, then by similarity, then by name, so that the same
   * vector always gives the same order.
   * @param candidates from {@link candidatesOf}; `undefined`: all routes
   */
  judge(
    text: string,
    { vector, legibility }: Pick<Embedding, 'vector' | 'legibility'>,
    candidates: Uint32Array | undefined,
    options: ClassifyOptions,
  ): Verdict {
    const among = candidates ?? this.#all;
    const scores = this.#scores;
    this.scorer.score(vector, candidates, scores, text);
    let nearest = -1;
    for (const route of among) nearest = Math.max(nearest, this.#numberOf(scores.similarity, route));
    const noise = this.#noise?.judge(text, vector, nearest, this.#named);
    const factor = familiarity(nearest, this.scorer.floor, legibility) * (noise?.factor ?? 1);
    const { threshold, top_k: topK = DEFAULT_TOP_K } = options;
    const thresholds =
      threshold === undefined ? this.#thresholds : new Float64Array(this.#all.length).fill(threshold);
    const top: number[] = [];
    const reached: number[] = [];
    let chosen: number | undefined;
    for (const route of among) {
      scores.score[route] = factor * this.#numberOf(scores.score, route);
      this.#round(route);
      if (this.#numberOf(scores.score, route) >= this.#numberOf(thresholds, route)) {
        if (chosen === undefined || this.#compare(route, chosen) < 0) chosen = route;
        if (options.multi === true) reached.push(route);
      }
      this.#insert(route, top, topK);
    }
    const first = chosen ?? top[0];
    if (first === undefined) throw new AppError('internal', 'a classification had no candidates');
    const metadata = chosen === undefined ? undefined : this.set.routes[chosen]?.metadata;
    return {
      route: chosen === undefined ? null : this.#nameOf(chosen),
      score: this.#numberOf(scores.score, first),
      similarity: this.#numberOf(scores.similarity, first),
      candidates: top.map((route) =>
        options.explain === true
          ? {
              ...this.#candidate(route),
              threshold: this.#numberOf(thresholds, route),
              ...this.#explanation(route, vector),
              familiarity: round(factor),
            }
          : this.#candidate(route),
      ),
      routes: options.multi === true ? this.#matches(reached) : undefined,
      route_metadata: metadata,
      legible: legibility === 'legible' && noise?.unreadable !== true,
    };
  }

  /**
   * Judges one text together with others whose vectors arrived in the same turn of the event loop.
   * @returns what {@link judge} gives, and the text's share of the time in milliseconds
   */
  judgeTogether(
    text: string,
    embedding: Pick<Embedding, 'vector' | 'legibility'>,
    candidates: Uint32Array | undefined,
    options: ClassifyOptions,
  ): Promise<{ readonly verdict: Verdict; readonly ms: number }> {
    if (this.#waiting.length === 0) setImmediate(() => this.#judgeWaiting());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ text, embedding, candidates, options, resolve, reject });
    });
  }

  #judgeWaiting(): void {
    const all = this.#waiting;
    this.#waiting = [];
    const matrices = [this.vectors.matrix, ...(this.scorer.matrices ?? [])];
    if (this.#noise) matrices.push(this.#noise.matrix);
    for (let from = 0; from < all.length; from += VECTORS_AT_ONCE) {
      const some = all.slice(from, from + VECTORS_AT_ONCE);
      const started = performance.now();
      const among = some.filter(({ candidates }) => candidates === undefined);
      const vectors = among.map(({ embedding }) => embedding.vector);
      for (const matrix of matrices) matrix.multiplyAhead(vectors);
      const shareMs = (performance.now() - started) / some.length;
      for (const { text, embedding, candidates, options, resolve, reject } of some) {
        const own = performance.now();
        try {
          const verdict = this.judge(text, embedding, candidates, options);
          resolve({ verdict, ms: shareMs + performance.now() - own });
        } catch (error) {
          reject(error);
        }
      }
    }
  }

  /** Log-odds of every route's score for a vector by similarity; a sure one has more than a number can hold, so it is bounded. */
  logits(vector: Float32Array): number[] {
    this.scorer.score(vector, undefined, this.#scores);
    return Array.from(this.#scores.score, (score) => {
      const bounded = Math.min(1 - 1e-15, Math.max(1e-15, score));
      return Math.log(bounded / (1 - bounded));
    });
  }

  /** Rounded before anything is compared: what the answer shows must explain the answer. */
  #round(route: number): void {
    const { score, similarity } = this.#scores;
    score[route] = round(score[route]);
    similarity[route] = round(similarity[route]);
  }

  /** Puts a route into its place among the best so far, of which `topK` are kept. */
  #insert(route: number, top: number[], topK: number): void {
    const last = top[topK - 1];
    if (last !== undefined && this.#compare(route, last) > 0) return;
    top.push(route);
    for (let at = top.length - 1; at > 0 && this.#compare(route, top[at - 1] as number) < 0; at -= 1) {
      top[at] = top[at - 1] as number;
      top[at - 1] = route;
    }
    if (top.length > topK) top.pop();
  }

  #matches(routes: number[]): RouteMatch[] {
    routes.sort((a, b) => this.#compare(a, b));
    return routes.map((route) => {
      const metadata = this.set.routes[route]?.metadata;
      return { ...this.#candidate(route), ...(metadata === undefined ? {} : { metadata }) };
    });
  }

  #candidate(route: number): Candidate {
    return {
      route: this.#nameOf(route),
      score: this.#numberOf(this.#scores.score, route),
      similarity: this.#numberOf(this.#scores.similarity, route),
    };
  }

  #explanation(route: number, vector: Float32Array): Pick<Candidate, 'nearest' | 'contribution'> {
    const found = this.scorer.explain?.(route, this.#scores);
    const nearest = this.#nearest(route, vector);
    if (found === undefined) return { nearest };
    const { head, similarity, bias } = found.log_odds;
    const contribution = {
      head_probability: round(found.head_probability),
      probability: round(found.probability),
      log_odds: { head: round(head), similarity: round(similarity), bias: round(bias) },
      words: found.words.map(({ text, log_odds }) => ({ text, log_odds: round(log_odds) })),
    };
    return { nearest, contribution };
  }

  #nearest(route: number, vector: Float32Array): NonNullable<Candidate['nearest']> {
    const { matrix, offsets } = this.vectors;
    const from = offsets[route] ?? 0;
    matrix.load(vector);
    matrix.multiply(from, offsets[route + 1] ?? from);
    const all = (this.set.routes[route]?.utterances ?? []).map((utterance, index) => ({
      utterance,
      similarity: round(Math.min(1, matrix.products[from + index] ?? -1)),
    }));
    all.sort((a, b) => b.similarity - a.similarity || compareText(a.utterance, b.utterance));
    return all.slice(0, NEAREST_SHOWN);
  }

  #compare(a: number, b: number): number {
    const { score, similarity } = this.#scores;
    return (
      (score[b] ?? 0) - (score[a] ?? 0) ||
      (similarity[b] ?? 0) - (similarity[a] ?? 0) ||
      compareText(this.#nameOf(a), this.#nameOf(b))
    );
  }

  #nameOf(route: number): string {
    return this.set.routes[route]?.name ?? '';
  }

  #numberOf(buffer: Float64Array, route: number): number {
    return buffer[route] ?? 0;
  }
}

/** To six digits, and never the -0 that JSON would show as 0 but that is not equal to it everywhere. */
function round(value: number | undefined): number {
  if (value === undefined || !Number.isFinite(value)) {
    throw new AppError('internal', 'a score is not a number');
  }
  return Math.round(value * 1e6) / 1e6 + 0;
}
