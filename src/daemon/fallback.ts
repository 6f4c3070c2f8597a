import { readFileSync } from 'node:fs';
import * as z from 'zod';
import type { FallbackFailure } from '../api/decisions.js';
import { guardedLookup, isMetadataAddress, isMetadataHost } from '../cache/sources/address.js';
import { HttpClient } from '../cache/sources/http-client.js';
import { WIRE_DEFAULTS } from '../cache/sources/retry.js';
import { type BaseUrl, parseBaseUrl, redactUrl } from '../cache/sources/url.js';
import type { Config } from '../config/config.js';
import {
  FALLBACK_HEADER,
  type FallbackPort,
  type FallbackReply,
  type FallbackRequest,
} from '../http/endpoints/fallback.js';
import type { CallContext } from '../http/request.js';
import { AppError, errnoOf, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';

const PATH = '/v1/systemone';

/** Failures in a row after which the server is left alone, and for how long, in milliseconds. */
export const CIRCUIT = { failures: 5, pauseMs: 10_000 } as const;

/** Largest answer that is read. */
const MAX_BYTES = 2 ** 20;

/** Calls that may be asked in a row where few were before. */
const MAX_CREDIT = 10;

/** The part of an answer of `/v1/systemone` that is used. */
const reply = z.object({
  model: z.string().min(1).max(200),
  answers: z.record(
    z.string(),
    z.object({
      type: z.literal('choice'),
      choice: z.string(),
      probabilities: z.record(z.string(), z.number().min(0).max(1)),
      confidence: z.number().min(0).max(1).nullish(),
      x_abstained: z.boolean().nullish(),
    }),
  ),
});

export type FallbackConfig = Pick<
  Config,
  'fallbackApiKey' | 'fallbackApiKeyFile' | 'fallbackModel' | 'fallbackTimeoutMs' | 'fallbackShare'
>;

/**
 * A larger server of `/v1/systemone` that is asked where no option of a choice reaches its threshold: within a share of all
 * calls, a time limit, and as long as it answers. Whatever goes wrong is a reason in the reply, never an error.
 */
export class Fallback implements FallbackPort {
  readonly #config: FallbackConfig;
  readonly #log: Log;
  readonly #base: BaseUrl;
  readonly #client: HttpClient;
  readonly #circuit: ReturnType<typeof createCircuit>;
  /** Calls that may be asked now: one at the start, `fallbackShare` more for each call. */
  #credit = 1;

  /** @throws AppError `config_invalid` */
  constructor(url: string, config: FallbackConfig, log: Log) {
    this.#config = config;
    this.#log = log;
    this.#base = parseBaseUrl(url, config.fallbackApiKey);
    if (isMetadataHost(this.#base.url.hostname)) {
      throw new AppError('config_invalid', "FALLBACK_URL is a machine's metadata service");
    }
    if (config.fallbackApiKeyFile !== undefined) readToken(config.fallbackApiKeyFile);
    const bounds = { connectTimeoutMs: config.fallbackTimeoutMs, headersTimeoutMs: config.fallbackTimeoutMs };
    const limits = { ...WIRE_DEFAULTS, ...bounds };
    this.#client = new HttpClient(this.#base, limits, { lookup: guardedLookup(isMetadataAddress) });
    this.#circuit = createCircuit(log);
  }

  /** The address without secrets. */
  get address(): string {
    return redactUrl(this.#base.url);
  }

  counted(): void {
    this.#credit = Math.min(MAX_CREDIT, this.#credit + this.#config.fallbackShare);
  }

  async ask(request: FallbackRequest, call: CallContext): Promise<FallbackReply> {
    // Tenths do not add up to one exactly.
    if (this.#credit < 1 - 1e-6) return { failed: 'share_exceeded' };
    this.#credit -= 1;
    const { breaker, isBrokenCircuitError } = await this.#circuit;
    const timeout = AbortSignal.timeout(this.#config.fallbackTimeoutMs);
    const signal = AbortSignal.any([call.signal, timeout]);
    try {
      return await breaker.execute(() =>
        this.#post(request, signal).catch((error: unknown) => {
          const late = timeout.aborted && !call.signal.aborted;
          throw late ? new AppError('source_stalled', 'no answer in time', { cause: error }) : error;
        }),
      );
    } catch (error) {
      if (call.signal.aborted) throw call.signal.reason;
      if (isBrokenCircuitError(error)) return { failed: 'circuit_open' };
      const failed = failureOf(error);
      this.#log.warn({ result: failed, reason: messageOf(error) }, 'fallback failed');
      return { failed };
    }
  }

  /**
   * Asks whether the server answers, and takes the key.
   * @throws AppError
   */
  async probe(signal: AbortSignal): Promise<void> {
    const { status } = await this.#send('/v1/models', signal);
    if (status !== 200) throw new AppError('source_refused', `${this.address} answered ${status}`);
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async #post({ state, choices }: FallbackRequest, signal: AbortSignal): Promise<FallbackReply> {
    const entries = [...choices].map(([id, { instructions, criteria }]) => [
      id,
      { type: 'choice', instructions, criteria },
    ]);
    const json = JSON.stringify({
      model: this.#config.fallbackModel,
      state,
      questions: Object.fromEntries(entries),
    });
    const { status, bytes } = await this.#send(PATH, signal, json);
    if (status !== 200) throw new AppError('source_refused', `answered ${status}`);
    const { model, answers } = parseReply(bytes);
    const found = new Map(
      [...choices].map(([id, { criteria }]) => {
        const answer = Object.hasOwn(answers, id) ? answers[id] : undefined;
        if (!answer || !Object.hasOwn(criteria, answer.choice))
          throw new AppError('source_wrong_bytes', 'a question has no answer among its options');
        return [id, answer] as const;
      }),
    );
    // Another ai-router, that does not know either.
    if ([...found.values()].some(({ x_abstained }) => x_abstained)) return { failed: 'abstained' };
    return { model, answers: found };
  }

  async #send(
    path: string,
    signal: AbortSignal,
    json?: string,
  ): Promise<{ readonly status: number; readonly bytes: Buffer }> {
    const url = new URL(this.#base.url);
    url.pathname = `${url.pathname.replace(/\/(?:v1(?:\/systemone)?)?$/, '')}${path}`;
    url.search = this.#base.query;
    const { fallbackApiKeyFile: file, fallbackTimeoutMs } = this.#config;
    const token = file === undefined ? undefined : readToken(file);
    const { status, body } = await this.#client.get({
      url,
      label: 'fallback',
      headers: {
        accept: 'application/json',
        // A server whose own fallback is this one must not ask it again.
        [FALLBACK_HEADER]: '1',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      ...(json !== undefined && { json }),
      signal,
      deadline: performance.now() + fallbackTimeoutMs,
    });
    try {
      return { status, bytes: await body.all(MAX_BYTES) };
    } finally {
      body.close();
    }
  }
}

/** Loaded only where there is a fallback. */
async function createCircuit(log: Log) {
  const { default: library } = await import('cockatiel');
  const { ConsecutiveBreaker, circuitBreaker, handleWhen, isBrokenCircuitError } = library;
  const breaker = circuitBreaker(
    // A request that its own client gave up is no failure of the server.
    handleWhen((error) => !(error instanceof AppError && error.code === 'aborted')),
    { halfOpenAfter: CIRCUIT.pauseMs, breaker: new ConsecutiveBreaker(CIRCUIT.failures) },
  );
  breaker.onBreak(() => log.warn({ pause_ms: CIRCUIT.pauseMs }, 'fallback paused after failures'));
  breaker.onReset(() => log.info({}, 'fallback answers again'));
  return { breaker, isBrokenCircuitError };
}

function parseReply(bytes: Buffer): z.output<typeof reply> {
  try {
    return reply.parse(JSON.parse(bytes.toString('utf8')));
  } catch {
    // The error of a parser quotes what it read, which may be the text of a caller.
    throw new AppError('source_wrong_bytes', 'the answer is not one of /v1/systemone');
  }
}

/**
 * Reads the token of a file.
 * @throws AppError `config_invalid`
 */
function readToken(path: string): string {
  try {
    const token = readFileSync(path, 'utf8').trim();
    if (!/^[!-~]{1,4096}$/.test(token)) throw new Error('holds no token');
    return token;
  } catch (cause) {
    const reason = errnoOf(cause) ?? messageOf(cause);
    throw new AppError('config_invalid', `FALLBACK_API_KEY_FILE: ${path}: ${reason}`, { cause });
  }
}

function failureOf(error: unknown): FallbackFailure {
  const code = error instanceof AppError ? error.code : 'internal';
  if (code === 'source_refused' || code === 'source_unauthorized') return 'refused';
  if (code === 'source_wrong_bytes' || code === 'source_too_large') return 'invalid_answer';
  return code === 'source_stalled' ? 'timeout' : 'unreachable';
}
