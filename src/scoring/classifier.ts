import type { Decision, Label } from '../api/classify.js';
import {
  type EmbeddedTexts,
  type Embedding,
  type EmbeddingTiming,
  embedTexts,
  requireTokens,
  type Stop,
  sumOf,
  TEXTS_UNDER_WAY,
  type TextsUsage,
  withoutTokens,
} from '../inference/embedder.js';
import type { RouteSet } from '../routes/set.js';
import { mapConcurrent, throwIfAborted } from '../shared/concurrent.js';
import { AppError } from '../shared/errors.js';
import { SharedCache } from '../shared/shared-cache.js';
import { ActiveSet, type ClassifyOptions, type Verdict } from './active-set.js';
import { type LabelSet, labelSetOf } from './labels.js';
import { blended, canBlend } from './messages.js';
import { FAMILIARITY_DEFAULTS, noiseOf } from './noise.js';
import { optionSetOf, probabilitiesOf, type Question, type QuestionAnswer, sharesOf } from './questions.js';
import type { CreateScorer, Encoder } from './scorer.js';
import { NAMED_CENTRE, SimilarityScorer, similarityScoring } from './similarity-scorer.js';
import { type EmbedRoutesReport, embedRoutes } from './vectors.js';

/** Where the time went, in milliseconds. Of a batch: the longest wait, and the sums of the work. */
export interface ClassifyTiming {
  readonly queueMs: number;
  readonly tokenizeMs: number;
  readonly inferenceMs: number;
  readonly scoreMs: number;
}

export interface ClassifierOptions {
  /** The model to begin with; may also come with the first {@link Classifier.load}. */
  readonly encoder?: Encoder;
  /** Takes the place of the scorer's own default threshold for the route set. 0 is a value. */
  readonly defaultThreshold?: number;
  /** Makes the scorer of a route set. Default: similarity. Labels are always scored by similarity. */
  readonly createScorer?: CreateScorer;
}

export interface LoadOptions {
  /** The model that is to serve this set and all later ones. Default: that of the last load. */
  readonly encoder?: Encoder;
  readonly signal?: AbortSignal;
  /** Called after every utterance that had to be embedded. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Runs when the set is ready to serve, before it does; if this fails, the old set stays. */
  readonly commit?: () => Promise<void>;
}

export interface LoadReport extends EmbedRoutesReport {
  readonly digest: string;
  readonly routes: number;
  readonly utterances: number;
  readonly durationMs: number;
}

export interface Input {
  readonly text: string;
  /** The turn of a conversation before it, which is taken in where the text alone reaches no threshold. */
  readonly previous?: string | undefined;
  /** Where it is in the request, for messages. */
  readonly path?: string | undefined;
}

/** Decisions about the texts of one request, in their order. */
interface Decided extends Answered {
  readonly decisions: readonly Decision[];
  /** Indexes of texts whose previous turn was taken in. */
  readonly blended: ReadonlySet<number>;
}

export interface Answered {
  readonly timing: ClassifyTiming;
  readonly usage: TextsUsage;
}

/** Label sets that are kept ready, and how many utterances those may have together (1.5 kB each). */
const LABEL_CACHE = { sets: 64, utterances: 8_000 } as const;

const similarity = similarityScoring();

/**
 * Decides where a text goes. Holds the active route set, which `load` replaces as a whole: a request that
 * has begun is answered by the set it began with.
 */
export class Classifier {
  readonly #options: ClassifierOptions;
  readonly #labelSets = new SharedCache<PassingSet>(LABEL_CACHE.sets, LABEL_CACHE.utterances);
  #encoder: Encoder | undefined;
  #active: ActiveSet | undefined;
  #loading: AbortController | undefined;
  #closed = false;

  constructor(options: ClassifierOptions = {}) {
    this.#options = options;
    this.#encoder = options.encoder;
  }

  /** The set that answers requests, with its vectors and scorer; `undefined` before the first `load`. */
  get active(): ActiveSet | undefined {
    return this.#active;
  }

  /**
   * Embeds a route set and makes it the active one, together with the model, if one is given. A newer call
   * aborts an older one that is under way. If it fails, the old set and the old model stay.
   * @throws AppError `not_ready` without any model, `aborted`, or what the embedder throws
   */
  async load(
    set: RouteSet,
    { encoder = this.#encoder, signal, onProgress, commit }: LoadOptions = {},
  ): Promise<LoadReport> {
    if (this.#closed) throw new AppError('draining', 'the classifier is closed');
    if (!encoder) throw new AppError('not_ready', 'no model is loaded yet', { retryable: true });
    this.#loading?.abort(new AppError('aborted', 'a newer route set took the place of this one'));
    const loading = new AbortController();
    this.#loading = loading;
    const both = signal ? AbortSignal.any([signal, loading.signal]) : loading.signal;
    const { createScorer = similarity, defaultThreshold } = this.#options;
    const { embedder, cache } = encoder;
    const started = performance.now();
    try {
      // Vectors of another model are worth nothing, even for the same text.
      const previous = this.#active?.encoder === encoder ? this.#active.vectors : undefined;
      const embedding = embedRoutes(set, embedder, { signal: both, onProgress, previous, cache });
      const embedded = embedding.then(({ vectors }) => vectors);
      // A scorer that fails early never awaits the vectors; their failure must not end the process.
      embedded.catch(() => undefined);
      const [{ vectors, report }, scorer, noise] = await Promise.all([
        embedding,
        createScorer(set, embedded, { encoder, signal: both }),
        noiseOf(encoder),
      ]);
      throwIfAborted(both);
      await commit?.();
      this.#active = new ActiveSet(encoder, set, vectors, scorer, { defaultThreshold, noise });
      this.#encoder = encoder;
      const { digest, routes, utteranceCount: utterances } = set;
      const durationMs = performance.now() - started;
      return { ...report, digest, routes: routes.length, utterances, durationMs };
    } finally {
      // Of what runs beside each other, the rest ends with the first failure.
      loading.abort();
      if (this.#loading === loading) this.#loading = undefined;
    }
  }

  /**
   * Classifies one text.
   * @throws AppError `not_ready`, `validation_failed`, `unknown_route`, `aborted`, or what the embedder throws
   */
  async classify(
    request: Input & ClassifyOptions,
    stop?: Stop,
  ): Promise<{ readonly decision: Decision } & Decided> {
    const decided = await this.#decide([request], request, stop);
    const [decision] = decided.decisions;
    if (!decision) throw new AppError('internal', 'a classification had no result');
    const { decisions, blended, usage, timing } = decided;
    return { decision, decisions, blended, usage, timing };
  }

  /**
   * Classifies texts with the same options, all by the same set. The results are in order, each equal to
   * what the text gets alone. If one fails, all fail.
   * @throws as {@link classify}
   */
  async classifyBatch(
    texts: readonly (string | Input)[],
    options: ClassifyOptions = {},
    stop?: Stop,
  ): Promise<Decided> {
    const inputs = texts.map((text, index) => {
      const path = `texts[${index}]`;
      return typeof text === 'string' ? { text, path } : { path, ...text };
    });
    return this.#decide(inputs, options, stop);
  }

  /**
   * Answers questions about one text, which is embedded once. No question changes the answer to another. A choice among
   * served routes only is answered by their scorer, all else by similarity to the options' texts. A choice that reaches no
   * threshold is answered again with the previous turn taken in, which is embedded only then.
   * @throws as {@link classify}
   */
  async ask(
    { text, previous, path = 'text' }: Input,
    questions: readonly Question[],
    stop?: Stop,
  ): Promise<{ readonly answers: readonly QuestionAnswer[]; readonly digest: string } & Answered> {
    const active = this.#active;
    if (!active) throw new AppError('not_ready', 'no route set is loaded yet', { retryable: true });
    const plans = await mapConcurrent(
      questions,
      OPTION_SETS_UNDER_WAY,
      async (question) => {
        const routes = routesOf(question, active.set);
        return { question, routes, options: routes ? active : await this.#optionSet(question, stop) };
      },
      stop?.signal,
    );
    let scoreMs = 0;
    const answer = (
      read: string,
      embedding: Embedding,
      { question, routes, options }: (typeof plans)[number],
    ) => {
      const started = performance.now();
      const given = routes
        ? answerOfRoutes(active, read, embedding, routes)
        : answerOfOptions(options, embedding, question);
      scoreMs += performance.now() - started;
      return given;
    };
    const { embedder } = active.encoder;
    const { results, ...first } = await embedTexts(
      embedder,
      [text],
      1,
      (embedding) => {
        requireTokens(embedding, path);
        return { embedding, answers: plans.map((plan) => answer(text, embedding, plan)) };
      },
      stop,
    );
    const [{ embedding, answers } = { embedding: undefined, answers: [] }] = results;
    const unsure = answers.some(({ abstained }) => abstained);
    if (!unsure || !embedding || !canBlend(embedding, text, previous)) {
      return {
        answers,
        digest: active.set.digest,
        usage: first.usage,
        timing: timingOf(first.timing, scoreMs),
      };
    }
    const second = await embedTexts(embedder, [previous], 1, (before) => blended(embedding, before), stop);
    const [both] = second.results;
    const given = answers.map((own, index) => {
      const plan = plans[index];
      if (!both || !plan || !own.abstained) return own;
      return { ...answer(`${previous} ${text}`, both, plan), blended: true };
    });
    const { usage, timing } = sumOf(first, second);
    return { answers: given, digest: active.set.digest, usage, timing: timingOf(timing, scoreMs) };
  }

  /**
   * Embeds texts with the model that decides.
   * @param each makes the result of one text, as soon as its vector is there
   * @throws AppError `not_ready`, `aborted`, or what the embedder or `each` throws
   */
  async embed<Result>(
    texts: readonly string[],
    each: (embedding: Embedding, index: number) => Result,
    stop?: Stop,
  ): Promise<EmbeddedTexts<Result>> {
    const encoder = this.#active?.encoder;
    if (!encoder) throw new AppError('not_ready', 'no model is loaded yet', { retryable: true });
    return embedTexts(encoder.embedder, texts, TEXTS_UNDER_WAY, each, stop);
  }

  /** Aborts what is being loaded. Requests under way still get their answer. */
  close(): void {
    this.#closed = true;
    this.#loading?.abort(new AppError('draining', 'the classifier is closed'));
    this.#labelSets.clear();
  }

  async #decide(
    inputs: readonly Input[],
    options: ClassifyOptions,
    stop: Stop | undefined,
  ): Promise<Decided> {
    // Taken before the first await: a reload in between must not mix two sets in one answer.
    const active = options.labels ? await this.#labelSet(options.labels, stop) : this.#active;
    if (!active) throw new AppError('not_ready', 'no route set is loaded yet', { retryable: true });
    const candidates = options.routes && active.candidatesOf(options.routes);
    const { embedder } = active.encoder;
    let scoreMs = 0;
    const decide = async (text: string, embedding: Embedding): Promise<Decision> => {
      const { verdict, ms } = await active.judgeTogether(text, embedding, candidates, options);
      scoreMs += ms;
      return decisionOf(active, verdict, embedding);
    };
    const unsure: { readonly index: number; readonly embedding: Embedding; readonly previous: string }[] = [];
    const first = await embedTexts(
      embedder,
      inputs.map(({ text }) => text),
      TEXTS_UNDER_WAY,
      async (embedding, index) => {
        const { text, previous, path = 'text' } = inputs[index] as Input;
        requireTokens(embedding, path);
        const decision = await decide(text, embedding);
        if (decision.route === null && canBlend(embedding, text, previous))
          unsure.push({ index, embedding, previous });
        return decision;
      },
      stop,
    );
    if (unsure.length === 0) {
      return {
        decisions: first.results,
        blended: NONE,
        usage: first.usage,
        timing: timingOf(first.timing, scoreMs),
      };
    }
    const decisions = [...first.results];
    const taken = new Set<number>();
    const second = await embedTexts(
      embedder,
      unsure.map(({ previous }) => previous),
      TEXTS_UNDER_WAY,
      async (before, at) => {
        const { index, embedding, previous } = unsure[at] as (typeof unsure)[number];
        const both = blended(embedding, before);
        if (!both) return;
        decisions[index] = await decide(`${previous} ${inputs[index]?.text}`, both);
        taken.add(index);
      },
      stop,
    );
    const { usage, timing } = sumOf(first, second);
    return { decisions, blended: taken, usage, timing: timingOf(timing, scoreMs) };
  }

  #labelSet(labels: readonly Label[], stop?: Stop): Promise<ActiveSet> {
    return this.#passingSet(labelSetOf(labels), stop);
  }

  #optionSet(question: Question, stop?: Stop): Promise<ActiveSet> {
    return this.#passingSet({ ...optionSetOf(question), named: true, isOptions: true }, stop);
  }

  async #passingSet(
    { set, paths, named, isOptions = false }: LabelSet & { readonly isOptions?: boolean },
    { client, signal }: Stop = {},
  ): Promise<ActiveSet> {
    const encoder = this.#encoder;
    if (!encoder) throw new AppError('not_ready', 'no model is loaded yet', { retryable: true });
    const { active, empty } = await this.#labelSets.get(
      `${encoder.model.digest} ${set.digest}`,
      set.utteranceCount,
      async (stop) => {
        const options = { client, signal: stop, shortLived: true };
        const { vectors, report } = await embedRoutes(set, encoder.embedder, options);
        const { empty } = report;
        // Sentences made of one name are too much alike to learn anything from leaving one out.
        const scorer = named
          ? new SimilarityScorer(vectors, NAMED_CENTRE, FAMILIARITY_DEFAULTS.named)
          : await similarity(set, vectors, { signal: stop });
        if (isOptions) return { active: new ActiveSet(encoder, set, vectors, scorer), empty };
        const noise = await noiseOf(encoder);
        return { active: new ActiveSet(encoder, set, vectors, scorer, { noise, named }), empty };
      },
      signal,
    );
    if (empty.length > 0) throw withoutTokens(empty.map((text) => paths.get(text) ?? 'labels'));
    return active;
  }
}

/** A set that a request brought along. */
interface PassingSet {
  readonly active: ActiveSet;
  /** Its texts without tokens, for which the request is refused. */
  readonly empty: readonly string[];
}

const NONE: ReadonlySet<number> = new Set();

/** Spelled out: V8 makes a new hidden class for each object that has more than a spread, in microseconds. */
function timingOf({ queueMs, tokenizeMs, inferenceMs }: EmbeddingTiming, scoreMs: number): ClassifyTiming {
  return { queueMs, tokenizeMs, inferenceMs, scoreMs };
}

/** Option sets of one request that are embedded at once. */
const OPTION_SETS_UNDER_WAY = 4;

/** The names of a choice's options where all of them are served routes. */
function routesOf(question: Question, { indexOf }: RouteSet): readonly string[] | undefined {
  if (question.type !== 'choice') return undefined;
  const names = question.options.map(({ name }) => name.text);
  return names.every((name) => indexOf.has(name)) ? names : undefined;
}

function answerOfRoutes(
  active: ActiveSet,
  text: string,
  embedding: Embedding,
  routes: readonly string[],
): QuestionAnswer {
  const verdict = active.judge(text, embedding, active.candidatesOf(routes), { top_k: routes.length });
  const scores = new Map(verdict.candidates.map(({ route, score }) => [route, score]));
  return {
    probabilities: sharesOf(routes.map((route) => scores.get(route) ?? 0)),
    abstained: verdict.route === null,
    score: verdict.score,
    routes: true,
    metadata: verdict.route_metadata,
  };
}

function answerOfOptions(options: ActiveSet, embedding: Embedding, question: Question): QuestionAnswer {
  const { route, score } = options.judge('', embedding, undefined, { top_k: 1 });
  const probabilities = probabilitiesOf(question, options.logits(embedding.vector));
  const abstained = question.type === 'choice' && route === null;
  return { probabilities, abstained, score, routes: false };
}

/** Spelled out, with spreads for what few requests ask for: a spread costs microseconds, as much as scoring does. */
function decisionOf({ encoder, set, scorer }: ActiveSet, verdict: Verdict, embedding: Embedding): Decision {
  const { routes, route_metadata, legible } = verdict;
  const decision: Decision = {
    route: verdict.route,
    score: verdict.score,
    similarity: verdict.similarity,
    candidates: verdict.candidates,
    usage: { tokens: embedding.tokens, truncated_tokens: embedding.truncatedTokens },
    model: encoder.model,
    routes_digest: set.digest,
    scorer: scorer.identity,
  };
  if (!routes && !route_metadata && legible) return decision;
  return {
    ...decision,
    ...(!legible && { legible }),
    ...(routes && { routes }),
    ...(route_metadata && { route_metadata }),
  };
}
