import type { FallbackFailure } from '../../api/decisions.js';
import type { JsonValue } from '../../api/schema.js';
import type { QuestionAnswer } from '../../scoring/questions.js';
import type { RequestMetrics } from '../../telemetry/ports.js';
import type { CallContext, RequestContext } from '../request.js';

/** A choice as the fallback is asked it: its options with what describes them. */
export interface FallbackChoice {
  /** The names of the options, in order. */
  readonly options: readonly string[];
  readonly instructions?: JsonValue | undefined;
  readonly criteria: Readonly<Record<string, JsonValue>>;
}

export interface FallbackRequest {
  /** As the caller sent it. */
  readonly state: JsonValue;
  readonly choices: ReadonlyMap<string, FallbackChoice>;
}

/** One answer of the fallback, whose choice is one of the options. */
export interface FallbackAnswer {
  readonly choice: string;
  readonly probabilities: Readonly<Record<string, number>>;
  readonly confidence?: number | null | undefined;
}

/** An answer to each choice, or why there is none. */
export type FallbackReply =
  | { readonly model: string; readonly answers: ReadonlyMap<string, FallbackAnswer> }
  | { readonly failed: FallbackFailure };

/** A larger server that is asked where no option reaches its threshold. */
export interface FallbackPort {
  /** Counts a decision call with a choice: it is asked about a share of them. */
  counted(): void;
  /** @throws only the reason of the call's abort */
  ask(request: FallbackRequest, call: CallContext): Promise<FallbackReply>;
}

/** An answer to a question, of this server or of the fallback. */
export interface GivenAnswer extends QuestionAnswer {
  readonly x_fallback?: { readonly model?: string; readonly failed?: FallbackFailure };
  /** Of an answer of the fallback. */
  readonly chosen?: string;
  readonly confidence?: number | undefined;
}

/** Marks a request that comes from a server whose fallback this one is. */
export const FALLBACK_HEADER = 'x-ai-router-fallback';

/**
 * Asks the fallback for the choices of which no option reached its threshold.
 * @param choices every choice of the call by the index of its question
 * @returns all answers, with those of the fallback in their places
 */
export async function withFallback(
  context: RequestContext,
  { fallback, metrics }: { readonly fallback: FallbackPort | undefined; readonly metrics: RequestMetrics },
  state: JsonValue,
  choices: ReadonlyMap<number, FallbackChoice>,
  answers: readonly QuestionAnswer[],
  call: CallContext,
): Promise<readonly GivenAnswer[]> {
  if (!fallback || choices.size === 0 || context.get(FALLBACK_HEADER) !== '') return answers;
  fallback.counted();
  const unsure = [...choices].filter(([index]) => answers[index]?.abstained);
  if (unsure.length === 0) return answers;
  const started = performance.now();
  const asked = new Map(unsure.map(([index, choice]) => [String(index), choice]));
  const reply = await fallback.ask({ state, choices: asked }, call);
  context.state.timings.fallback = performance.now() - started;
  metrics.fellBack('failed' in reply ? reply.failed : 'answered');
  return answers.map((own, index) => {
    const choice = asked.get(String(index));
    if (!choice) return own;
    if ('failed' in reply) return { ...own, x_fallback: { failed: reply.failed } };
    const answer = reply.answers.get(String(index));
    if (!answer) return own;
    const { probabilities } = answer;
    return {
      ...own,
      abstained: false,
      metadata: undefined,
      probabilities: choice.options.map((name) =>
        Object.hasOwn(probabilities, name) ? (probabilities[name] ?? 0) : 0,
      ),
      chosen: answer.choice,
      confidence: answer.confidence ?? undefined,
      x_fallback: { model: reply.model },
    };
  });
}
