import type { Decision } from '../../api/classify.js';
import type { Classifier } from '../../scoring/classifier.js';
import { mapConcurrent } from '../../shared/concurrent.js';
import { AppError } from '../../shared/errors.js';
import type { Daemon } from '../daemon-client.js';
import type { Case } from './labelled-file.js';

/** Decides about texts: a model in this process, or a daemon. */
export interface Judge {
  /** A routes file, or a daemon's address. */
  readonly name: string;
  readonly routes: readonly string[];
  /** Texts under way at once. */
  readonly concurrency: number;
  /** The meaning of {@link Judged.ms}, in words. */
  readonly measures: string;
  classify(text: string, signal: AbortSignal): Promise<{ readonly decision: Decision; readonly ms: number }>;
}

/** The decision about a text. */
export interface Judged extends Case {
  /** The route that was chosen; `null` for an abstention. */
  readonly got: string | null;
  /** The best candidate, whatever the threshold. */
  readonly best: string;
  readonly score: number;
  readonly ms: number;
}

export interface Judgement {
  readonly judged: readonly Judged[];
  /** Time for all, in milliseconds. */
  readonly totalMs: number;
  readonly model: Decision['model'] | undefined;
  readonly routesDigest: string | undefined;
}

/**
 * Decides about every text.
 * @throws AppError what the judge throws, with the line of the text
 */
export async function judgeAll(
  judge: Judge,
  cases: readonly Case[],
  signal: AbortSignal,
  onProgress: (done: number, total: number) => void,
): Promise<Judgement> {
  let done = 0;
  let last: Decision | undefined;
  const started = performance.now();
  const judged = await mapConcurrent(
    cases,
    judge.concurrency,
    async (each, stop): Promise<Judged> => {
      const { decision, ms } = await judge.classify(each.text, stop).catch((error: unknown) => {
        if (!(error instanceof AppError) || error.code === 'aborted') throw error;
        throw new AppError(error.code, `line ${each.line}: ${error.message}`, { cause: error });
      });
      const [best] = decision.candidates;
      if (!best) throw new AppError('internal', `line ${each.line}: a decision without candidates`);
      if (last && last.routes_digest !== decision.routes_digest) {
        throw new AppError('config_invalid', `${judge.name}: the routes changed meanwhile; start again`);
      }
      last = decision;
      done += 1;
      onProgress(done, cases.length);
      return { ...each, got: decision.route, best: best.route, score: best.score, ms };
    },
    signal,
  );
  return {
    judged,
    totalMs: performance.now() - started,
    model: last?.model,
    routesDigest: last?.routes_digest,
  };
}

/** A judge in this process. */
export function localJudge(name: string, classifier: Classifier, concurrency: number): Judge {
  return {
    name,
    routes: classifier.active?.set.routes.map((route) => route.name) ?? [],
    concurrency,
    measures: 'tokenizing, inference and scoring of one text',
    async classify(text, signal) {
      const { decision, timing } = await classifier.classify({ text, top_k: 1 }, { signal });
      return { decision, ms: timing.tokenizeMs + timing.inferenceMs + timing.scoreMs };
    },
  };
}

/**
 * A running daemon as a judge.
 * @throws AppError `source_…` when no ai-router answers
 */
export async function daemonJudge(
  { name, call }: Daemon,
  concurrency: number,
  signal: AbortSignal,
): Promise<Judge> {
  const { routes } = await call((client) => client.routes({ signal }));
  if (!Array.isArray(routes)) throw new AppError('source_wrong_bytes', `${name}: no ai-router answers there`);
  return {
    name,
    routes: routes.map((route) => route.name),
    concurrency,
    measures: `round trip of one request, ${concurrency} at once`,
    async classify(text, stop) {
      const started = performance.now();
      const decision = await call((client) => client.classify({ text, top_k: 1 }, { signal: stop }));
      return { decision, ms: performance.now() - started };
    },
  };
}
