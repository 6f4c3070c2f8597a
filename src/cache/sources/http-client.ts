import type { IncomingMessage } from 'node:http';
import { AppError } from '../../shared/errors.js';
import { contentLengthOf } from './answer.js';
import { WatchedBody } from './body.js';
import { Connections } from './connections.js';
import { abortedFault, connectFault, type HeaderFields, headerOf, stalledFault } from './faults.js';
import { isSameOrigin, redactUrl } from './url.js';
import type { WireLimits, WireParts } from './wire.js';

/** One GET. */
export interface HttpGet {
  readonly url: URL;
  /** What it is for, in messages: a pinned path or an archive's name. */
  readonly label: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** When the whole answer has to be there, on the clock of `performance.now()`. */
  readonly deadline: number;
  /** Sees the headers of each answer of the configured origin, redirects included, and may throw. */
  readonly inspect?: (headers: HeaderFields, place: string) => void;
}

/** The answer at the end of the redirects. Whoever takes it reads its body to the end or closes it. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: HeaderFields;
  /** File and address in words, for messages. */
  readonly place: string;
  readonly body: WatchedBody;
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/**
 * GET under the rules of the wire: few redirects, never from https to http, never from a public origin to a
 * private address; the credential goes to the configured origin only and is lost for good by leaving it;
 * everything has a time limit.
 */
export class HttpClient {
  readonly #origin: URL;
  readonly #authorization: string | undefined;
  readonly #limits: WireLimits;
  readonly #connections: Connections;
  readonly #closing = new AbortController();

  /** `authorization` is the header's whole value; it is sent to the origin of `origin` and nowhere else. */
  constructor(origin: URL, authorization: string | undefined, limits: WireLimits, parts: WireParts = {}) {
    this.#origin = origin;
    this.#authorization = authorization;
    this.#limits = limits;
    this.#connections = new Connections(limits, parts);
  }

  /**
   * Follows redirects to the final answer, whatever its status.
   * @throws AppError `source_refused`, `source_unreachable`, `source_stalled`, `aborted`, and what `inspect` throws
   */
  async get(get: HttpGet): Promise<HttpAnswer> {
    const life = new AbortController();
    const unlink = link(life, get.signal, this.#closing.signal);
    try {
      let url = get.url;
      let trusted = true;
      for (let hops = 0; ; hops += 1) {
        const place = `${get.label} from ${redactUrl(url)}`;
        const own = isSameOrigin(url, this.#origin);
        trusted &&= own;
        const answer = await this.#once(url, own, trusted, get, life, place);
        const location = REDIRECTS.has(answer.statusCode ?? 0)
          ? headerOf(answer.headers, 'location')
          : undefined;
        try {
          if (trusted) get.inspect?.(answer.headers, place);
          if (location === undefined) return this.#answer(answer, get, life, place, unlink);
          if (hops >= this.#limits.maxRedirects) {
            throw new AppError(
              'source_refused',
              `${place}: more than ${this.#limits.maxRedirects} redirects`,
            );
          }
          url = redirectTarget(url, location, place);
        } catch (error) {
          answer.destroy();
          throw error;
        }
        discard(answer);
      }
    } catch (error) {
      unlink();
      throw error;
    }
  }

  /** Ends all connections; requests under way fail with `aborted`. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#connections.close();
  }

  #answer(
    message: IncomingMessage,
    { deadline }: HttpGet,
    life: AbortController,
    place: string,
    onClose: () => void,
  ): HttpAnswer {
    const watch = { life, limits: this.#limits, deadline, place, onClose };
    const body = new WatchedBody(message, watch);
    return { status: message.statusCode ?? 0, headers: message.headers, place, body };
  }

  /** One request and the headers of its answer, in the time allowed for them. */
  async #once(
    url: URL,
    own: boolean,
    trusted: boolean,
    get: HttpGet,
    life: AbortController,
    place: string,
  ): Promise<IncomingMessage> {
    const allowed = Math.min(this.#limits.headersTimeoutMs, get.deadline - performance.now());
    const fault = stalledFault(place, `no answer within ${Math.max(0, Math.round(allowed))} ms`);
    const timer = setTimeout(() => life.abort(fault), Math.max(0, allowed)).unref();
    try {
      const headers: Record<string, string> = {
        accept: '*/*',
        // A compressed body would have another size and other ranges than the pinned file.
        'accept-encoding': 'identity',
        'user-agent': 'ai-router',
        ...get.headers,
      };
      if (trusted && this.#authorization) headers.authorization = this.#authorization;
      return await this.#connections.get(url, own, headers, life.signal);
    } catch (cause) {
      throw connectFault(cause, place);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Where a redirect leads, if it may lead there. */
function redirectTarget(from: URL, location: string, place: string): URL {
  let to: URL;
  try {
    to = new URL(location, from);
  } catch {
    throw new AppError('source_refused', `${place}: redirects to an unreadable URL`);
  }
  if (to.protocol !== 'https:' && to.protocol !== 'http:') {
    throw new AppError('source_refused', `${place}: redirects to ${to.protocol}`);
  }
  if (from.protocol === 'https:' && to.protocol === 'http:') {
    throw new AppError('source_refused', `${place}: redirects from https to http`);
  }
  to.username = '';
  to.password = '';
  to.hash = '';
  return to;
}

/** Reads a redirect's small body away, so that its connection can be used again; a large or slow one is cut off. */
function discard(answer: IncomingMessage): void {
  if ((contentLengthOf(answer.headers) ?? Infinity) > 16_384) {
    answer.destroy();
    return;
  }
  const timer = setTimeout(() => answer.destroy(), 1_000).unref();
  answer.once('close', () => clearTimeout(timer));
  answer.resume();
}

/** Aborts `life` when one of `signals` does; returns the end of that. */
function link(life: AbortController, ...signals: AbortSignal[]): () => void {
  const stop = () => life.abort(abortedFault());
  for (const signal of signals) {
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
  }
  return () => {
    for (const signal of signals) signal.removeEventListener('abort', stop);
  };
}
