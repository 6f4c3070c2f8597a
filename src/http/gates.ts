import { setImmediate as yieldToOthers } from 'node:timers/promises';
import { getHeapStatistics } from 'node:v8';
import type { Label } from '../api/classify.js';
import { MAX_ANSWER_BYTES, MAX_VECTOR_BYTES } from '../api/limits.js';
import type { RateLimit } from '../config/parsers.js';
import type { Route, RouteSet } from '../routes/set.js';
import { type ClassifyOptions, DEFAULT_TOP_K, NEAREST_SHOWN } from '../scoring/active-set.js';
import { optionSentences } from '../scoring/labels.js';
import { SLICE_MS } from '../shared/concurrent.js';
import { AppError } from '../shared/errors.js';
import type { RequestContext } from './request.js';

/*
 * The gates of HTTP that refuse requests because the daemon has enough to do: rate, bytes of bodies, size of the answer; and
 * the turns of those that arrive together. The full list is GATES in shared/errors.ts; the others are connections
 * (server.ts), queue and deadline (inference).
 */

/** Counts one request of the client; throws AppError `rate_limited` when it is one too many. */
export type Meter = (context: RequestContext, client: string) => Promise<void>;

/**
 * Makes a meter. Answers carry the fields of draft-ietf-httpapi-ratelimit-headers. Clients are forgotten when their window
 * ends.
 */
export function createMeter({ requests, seconds }: RateLimit): Meter {
  // Loaded only where there is a limit: it takes longer than anything else at boot.
  const loading = import('rate-limiter-flexible').then(({ default: library }) => ({
    limiter: new library.RateLimiterMemory({ points: requests, duration: seconds }),
    Refusal: library.RateLimiterRes,
  }));
  return async (context, client) => {
    const { limiter, Refusal } = await loading;
    const [state, refused] = await limiter.consume(client).then(
      (result) => [result, false] as const,
      (result: unknown) => {
        if (result instanceof Refusal) return [result, true] as const;
        throw result;
      },
    );
    const left = Math.max(0, state.remainingPoints);
    const resetSeconds = Math.max(1, Math.ceil(state.msBeforeNext / 1_000));
    context.set('RateLimit-Policy', `"default";q=${requests};w=${seconds}`);
    context.set('RateLimit', `"default";r=${left};t=${resetSeconds}`);
    if (!refused) return;
    throw new AppError('rate_limited', `more than ${requests} requests in ${seconds} s (RATE_LIMIT)`, {
      retryable: true,
      retryAfterMs: state.msBeforeNext,
      gate: 'rate',
    });
  };
}

/**
 * Bounds the work of one turn of the event loop where each piece is short but many arrive together: what else has arrived,
 * such as a probe of health, is read between turns only.
 */
export class Turns {
  #since: number | undefined;
  readonly #line: { readonly client: string; goOn(): void }[] = [];

  /** Whether this turn has had its time. The first to ask in a turn begins it. */
  get over(): boolean {
    if (this.#since !== undefined) return performance.now() - this.#since > SLICE_MS;
    this.#since = performance.now();
    setImmediate(() => {
      this.#since = undefined;
    });
    return false;
  }

  /** Pieces of this client that wait for a turn, or begin in this one. */
  waiting(client: string): number {
    return this.#line.reduce((count, one) => count + (one.client === client ? 1 : 0), 0);
  }

  /** Resolves in a turn that has time left; those who wait go on in their order. */
  next(client: string): Promise<void> {
    return new Promise((goOn) => {
      this.#line.push({ client, goOn });
      if (this.#line.length === 1) void this.#advance();
    });
  }

  async #advance(): Promise<void> {
    for (let [first] = this.#line; first; [first] = this.#line) {
      while (this.over) await yieldToOthers();
      first.goOn();
      // Until it has done what it can without waiting, so that its time counts.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      this.#line.shift();
    }
  }
}

/** Bytes of request and response bodies under way, all clients together, where memory allows it. */
const MAX_BYTES = 64 * 2 ** 20;
/** Part of the heap that they may be: parsed, a body takes several times its bytes. */
const HEAP_SHARE = 1 / 8;

/**
 * Memory for bodies under way: those that arrive, and the answers that are made of them. A client may hold half of it, so
 * that it cannot keep the others out.
 */
export class ByteBudget {
  readonly #total: number;
  readonly #perClient: number;
  readonly #clients = new Map<string, number>();
  #used = 0;

  /** @param largest size of one body or answer that must fit, in bytes */
  constructor(
    largest: number,
    total = Math.min(MAX_BYTES, getHeapStatistics().heap_size_limit * HEAP_SHARE),
  ) {
    this.#perClient = Math.max(largest, Math.floor(total / 2));
    this.#total = Math.max(total, 2 * this.#perClient);
  }

  /** Bytes under way. */
  get used(): number {
    return this.#used;
  }

  /**
   * Returns a function that takes bytes for a request, all of which are given back when its response is closed.
   * @throws (the function) AppError `overloaded`
   */
  lease(context: RequestContext): (bytes: number) => void {
    context.state.lease ??= this.#lease(context);
    return context.state.lease;
  }

  #lease({ state: { client }, res }: RequestContext): (bytes: number) => void {
    let held = 0;
    res.on('close', () => this.#give(client, held));
    return (bytes) => {
      const own = (this.#clients.get(client) ?? 0) + bytes;
      if (own > this.#perClient || this.#used + bytes > this.#total) {
        const whose = own > this.#perClient ? 'of this client' : 'of all clients';
        throw new AppError('overloaded', `bodies ${whose} take up the memory there is for them; try again`, {
          retryable: true,
          gate: 'body_bytes',
        });
      }
      if (res.destroyed) throw new AppError('aborted', 'the client closed the connection');
      held += bytes;
      this.#used += bytes;
      this.#clients.set(client, own);
    };
  }

  #give(client: string, bytes: number): void {
    this.#used -= bytes;
    const left = (this.#clients.get(client) ?? 0) - bytes;
    if (left > 0) this.#clients.set(client, left);
    else this.#clients.delete(client);
  }
}

/** JSON bytes of a decision besides its candidates, of one candidate, and of what `explain` and `multi` add to it. */
const FIXED = {
  decision: 1_024,
  candidate: 64,
  explanation: 384,
  nearest: 48,
  match: 80,
  // Two of 300 characters, of which each may be an escape of six.
  turns: 4_096,
} as const;
/** JSON bytes of what a decision may show of one route. */
interface RouteSizes {
  /** Among the candidates. */
  readonly candidate: number;
  /** Among the routes that reached their threshold, with metadata. */
  readonly match: number;
}

/** Sizes of the served sets, which are the same for every request: without and with explanations. */
const plain = new WeakMap<RouteSet, readonly RouteSizes[]>();
const explained = new WeakMap<RouteSet, readonly RouteSizes[]>();
/** Bytes of a decision among all routes of a set, where the request has no options that matter here: nearly always. */
const usual = new WeakMap<RouteSet, number>();

/**
 * Takes memory for the answer to a classification before any text is embedded. Its size is known from above:
 * texts × candidates × what each shows.
 * @param served the set that decides where the request brings no labels
 * @param turns whether the texts are conversations, whose turns are shown
 * @throws AppError `answer_too_large`, `overloaded`
 */
export function reserveAnswer(
  context: RequestContext,
  budget: ByteBudget,
  texts: number,
  options: ClassifyOptions,
  served: RouteSet | undefined,
  turns = false,
): void {
  const { labels, routes, explain, multi, top_k } = options;
  const isUsual = !labels && !routes && !explain && !multi && top_k === undefined;
  let each = isUsual && served ? usual.get(served) : undefined;
  if (each === undefined) {
    each = decisionBytes(sizesOf(options, served), options);
    if (isUsual && served) usual.set(served, each);
  }
  if (turns) each += explain ? FIXED.turns : FIXED.candidate;
  reserve(context, budget, texts, each, 'lower "top_k", or leave out "explain" or "multi"');
}

/** How vectors are written. */
export type VectorFormat = 'numbers' | 'base64';

/**
 * The same for embeddings.
 * @throws AppError `answer_too_large`, `overloaded`
 */
export function reserveVectors(
  context: RequestContext,
  budget: ByteBudget,
  texts: number,
  dimension: number,
  format: VectorFormat,
): void {
  // The longest number is like -0.012345678955316544, with its comma; in base64 it has four bytes, and a third more.
  const each = 64 + (format === 'base64' ? 6 : 24) * dimension;
  reserve(context, budget, texts, each, 'send them in several requests', MAX_VECTOR_BYTES);
}

/** Bytes of a token as JSON, of a text of one character. */
const TOKEN_BYTES = 72;

/**
 * The same for tokens, of which a text has as many as characters at most.
 * @throws AppError `answer_too_large`, `overloaded`
 */
export function reserveTokens(context: RequestContext, budget: ByteBudget, chars: number): void {
  reserve(
    context,
    budget,
    chars,
    TOKEN_BYTES,
    'send them in several requests',
    MAX_ANSWER_BYTES,
    'characters',
  );
}

function reserve(
  context: RequestContext,
  budget: ByteBudget,
  count: number,
  each: number,
  advice: string,
  most = MAX_ANSWER_BYTES,
  unit = 'texts like this',
): void {
  const bytes = count * each;
  if (bytes > most) {
    const fitting = Math.floor(most / each);
    const message =
      `the answer could have ${bytes} bytes, and ${most} are allowed: ` +
      (fitting > 0 ? `send at most ${fitting} ${unit}, or ${advice}` : advice);
    throw new AppError('answer_too_large', message, { gate: 'answer_budget' });
  }
  budget.lease(context)(bytes);
}

function sizesOf(
  { labels, routes, explain }: ClassifyOptions,
  served: RouteSet | undefined,
): readonly RouteSizes[] {
  const withNearest = explain === true;
  if (labels) return labels.map((label) => sizesOfRoute(routeLike(label), withNearest));
  if (!served) return [];
  const known = withNearest ? explained : plain;
  let all = known.get(served);
  if (!all) {
    all = served.routes.map((route) => sizesOfRoute(route, withNearest));
    known.set(served, all);
  }
  if (!routes) return all;
  const indexes = new Set(routes.map((name) => served.indexOf.get(name)));
  return all.filter((_, index) => indexes.has(index));
}

function decisionBytes(
  sizes: readonly RouteSizes[],
  { top_k = DEFAULT_TOP_K, multi }: ClassifyOptions,
): number {
  const candidates = sizes.map(({ candidate }) => candidate);
  if (candidates.length > top_k) candidates.sort((a, b) => b - a);
  const matches = sizes.map(({ match }) => match);
  return (
    FIXED.decision +
    sum(candidates.slice(0, top_k)) +
    (multi === true ? sum(matches) : 0) +
    // The chosen route's name and metadata.
    matches.reduce((most, match) => Math.max(most, match), 0)
  );
}

type Sized = Pick<Route, 'name' | 'utterances' | 'metadata'>;

function sizesOfRoute({ name, utterances, metadata }: Sized, withNearest: boolean): RouteSizes {
  const own = jsonBytes(name);
  const nearest = withNearest
    ? utterances
        .map(jsonBytes)
        .sort((a, b) => b - a)
        .slice(0, NEAREST_SHOWN)
    : [];
  return {
    candidate:
      FIXED.candidate +
      own +
      (withNearest ? FIXED.explanation + sum(nearest) + NEAREST_SHOWN * FIXED.nearest : 0),
    match: FIXED.match + own + (metadata === undefined ? 0 : jsonBytes(metadata)),
  };
}

function routeLike(label: Label): Sized {
  if (typeof label === 'string')
    return { name: label, utterances: optionSentences(label, undefined), metadata: undefined };
  const { name, description, utterances = optionSentences(name, description) } = label;
  return { name, utterances, metadata: undefined };
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
