import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest, Agent as TlsAgent } from 'node:https';
import type { Socket } from 'node:net';
import { AppError } from '../../shared/errors.js';
import {
  guardedLookup,
  isLiteral,
  isMetadataAddress,
  isMetadataHost,
  isPrivateAddress,
  privateAddressError,
} from './address.js';
import { WatchedBody } from './body.js';
import {
  abortedFault,
  connectFault,
  contentLengthOf,
  type HeaderFields,
  headerOf,
  stalledFault,
} from './faults.js';
import { proxyAuthorization, proxyFor, TunnelAgent } from './proxy.js';
import type { WireLimits, WireParts } from './retry.js';
import { type BaseUrl, isSameOrigin, redactUrl } from './url.js';

/** One GET, or a POST where there is a body. */
export interface HttpGet {
  readonly url: URL;
  /** Its purpose, in messages: a pinned path or an archive's name. */
  readonly label: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON to post. It goes to the configured origin only: redirects are not followed. */
  readonly json?: string;
  readonly signal: AbortSignal;
  /** When the whole answer has to be there, on the clock of `performance.now()`. */
  readonly deadline: number;
  /** Sees the headers of each answer of the configured origin, redirects included, and may throw. */
  readonly inspect?: (headers: HeaderFields, place: string) => void;
}

/** The answer at the end of the redirects. The caller reads its body to the end or closes it. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: HeaderFields;
  /** File and address in words, for messages. */
  readonly place: string;
  readonly body: WatchedBody;
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** How long an idle connection is kept for the next file. */
const IDLE_CONNECTION_MS = 4_000;

/**
 * GET under the rules of the wire: few redirects, never from https to http, never from a public origin to a private
 * address, never to a metadata service; the credential goes to the configured origin only and is lost for good by
 * leaving it; everything has a time limit. Proxies of the environment are used.
 *
 * `node:http` and not `fetch`: undici has ended the whole process when a connection broke while its reader paused.
 */
export class HttpClient {
  readonly #base: BaseUrl;
  readonly #limits: WireLimits;
  readonly #parts: WireParts;
  readonly #isPrivate: (address: string) => boolean;
  readonly #agents = new Map<string, Agent>();
  readonly #closing = new AbortController();
  #authorization: string | undefined;
  /** Whether the configured origin was reached at a private address: then it may redirect to others. */
  #originIsPrivate: boolean;

  constructor(base: BaseUrl, limits: WireLimits, parts: WireParts = {}) {
    this.#base = base;
    this.#limits = limits;
    this.#parts = parts;
    this.#isPrivate = parts.isPrivate ?? isPrivateAddress;
    this.#authorization = base.authorization;
    this.#originIsPrivate = isLiteral(base.url.hostname) && this.#isPrivate(base.url.hostname);
  }

  /**
   * Follows redirects to the final answer, whatever its status.
   * @throws AppError `source_refused`, `source_unreachable`, `source_stalled`, `aborted`, and what `inspect` throws
   */
  async get(get: HttpGet): Promise<HttpAnswer> {
    const life = new AbortController();
    const stop = (): void => life.abort(abortedFault());
    const signals = [get.signal, this.#closing.signal];
    for (const signal of signals) {
      if (signal.aborted) stop();
      signal.addEventListener('abort', stop, { once: true });
    }
    const unlink = (): void => {
      for (const signal of signals) signal.removeEventListener('abort', stop);
    };
    try {
      const { message, place } = await this.#follow(get, life);
      const watch = { life, limits: this.#limits, deadline: get.deadline, place, onClose: unlink };
      const body = new WatchedBody(message, watch);
      return { status: message.statusCode ?? 0, headers: message.headers, place, body };
    } catch (error) {
      unlink();
      throw error;
    }
  }

  /** Ends all connections; requests under way fail with `aborted`. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const agent of this.#agents.values()) agent.destroy();
  }

  async #follow(get: HttpGet, life: AbortController): Promise<{ message: IncomingMessage; place: string }> {
    let { url } = get;
    let trusted = true;
    for (let hops = 0; ; ) {
      const place = `${get.label} from ${redactUrl(url)}`;
      const own = isSameOrigin(url, this.#base.url);
      trusted &&= own;
      // Others may be under way, and learn it first that a token is wanted.
      const sent = this.#authorization;
      const message = await this.#once(url, own, trusted, get, life, place);
      try {
        if (trusted && this.#wantsBearer(message, sent)) continue;
        if (trusted) get.inspect?.(message.headers, place);
        const isRedirect = get.json === undefined && REDIRECTS.has(message.statusCode ?? 0);
        const location = isRedirect ? headerOf(message.headers, 'location') : undefined;
        if (location === undefined) return { message, place };
        hops += 1;
        if (hops > this.#limits.maxRedirects) {
          throw new AppError('source_refused', `${place}: more than ${this.#limits.maxRedirects} redirects`);
        }
        url = redirectTarget(url, location, place);
      } catch (error) {
        message.destroy();
        throw error;
      }
      discard(message);
    }
  }

  /**
   * Whether a server turned user and password away and asks for a Bearer token, as another instance of this program
   * does: then the password is the token from now on.
   */
  #wantsBearer(message: IncomingMessage, sent: string | undefined): boolean {
    const { password } = this.#base;
    const bearer = `Bearer ${password}`;
    const asks = /\bbearer\b/i.test(headerOf(message.headers, 'www-authenticate') ?? '');
    if (message.statusCode !== 401 || !asks || !password || sent === bearer) return false;
    this.#authorization = bearer;
    discard(message);
    return true;
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
        ...(get.json !== undefined && { 'content-type': 'application/json' }),
        ...get.headers,
      };
      if (trusted && this.#authorization) headers.authorization = this.#authorization;
      return await this.#send(url, own, headers, life.signal, get.json);
    } catch (cause) {
      throw connectFault(cause, url, get.label);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Sends a request. Aborting `signal` ends the request and, later, the body, with the signal's reason. */
  #send(
    url: URL,
    own: boolean,
    headers: Record<string, string>,
    signal: AbortSignal,
    json: string | undefined,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) throw signal.reason;
      const proxy = proxyFor(url, this.#parts.env ?? process.env);
      // A literal address is never looked up, and a proxy looks names up elsewhere.
      if (
        !own &&
        (isMetadataHost(url.hostname) || (isLiteral(url.hostname) && this.#isForbidden(url.hostname)))
      ) {
        throw privateAddressError(url.hostname);
      }
      const request = this.#request(url, own, proxy, headers, json === undefined ? 'GET' : 'POST');
      let answer: IncomingMessage | undefined;
      const stop = () => {
        (answer ?? request).destroy(signal.reason);
        reject(signal.reason);
      };
      signal.addEventListener('abort', stop, { once: true });
      request.on('socket', (socket: Socket) => {
        if (!socket.connecting) return;
        this.#limitConnecting(request, socket);
        if (!proxy) socket.once('connect', () => this.#checkPeer(request, socket, own));
      });
      // Stays in place for the time of the body, whose failures reach its reader by another way.
      request.on('error', reject);
      request.on('close', () => signal.removeEventListener('abort', stop));
      request.on('response', (response) => {
        answer = response;
        response.on('error', () => undefined);
        resolve(response);
      });
      request.end(json);
    });
  }

  #request(
    url: URL,
    own: boolean,
    proxy: URL | undefined,
    headers: Record<string, string>,
    method: 'GET' | 'POST',
  ): ClientRequest {
    const agent = this.#agentFor(url.protocol, own, proxy);
    if (url.protocol === 'https:') return httpsRequest(url, { agent, headers, method });
    if (!proxy) return httpRequest(url, { agent, headers, method });
    const send = proxy.protocol === 'https:' ? httpsRequest : httpRequest;
    const address = new URL(proxy.origin);
    return send(address, {
      agent,
      method,
      path: url.href,
      headers: { ...headers, host: url.host, ...proxyAuthorization(proxy) },
    });
  }

  /** Connections to the configured origin are apart from those to all other hosts, whose addresses are guarded. */
  #agentFor(protocol: string, own: boolean, proxy: URL | undefined): Agent {
    const key = [protocol, own, proxy?.href].join(' ');
    const known = this.#agents.get(key);
    if (known) return known;
    const { lookup, ca } = this.#parts;
    const resolver = own || proxy ? lookup : guardedLookup((address) => this.#isForbidden(address), lookup);
    const { connectTimeoutMs } = this.#limits;
    const options = {
      keepAlive: true,
      timeout: IDLE_CONNECTION_MS,
      autoSelectFamily: true,
      // Node's own 250 ms are less than a far host or a lost packet takes.
      autoSelectFamilyAttemptTimeout: Math.max(250, Math.round(connectTimeoutMs / 4)),
      ...(resolver && { lookup: resolver }),
      ...(ca !== undefined && { ca }),
    };
    const isTls = (protocol === 'https:' ? protocol : (proxy?.protocol ?? protocol)) === 'https:';
    const agent =
      proxy && protocol === 'https:'
        ? new TunnelAgent(proxy, connectTimeoutMs, options)
        : isTls
          ? new TlsAgent(options)
          : new Agent(options);
    this.#agents.set(key, agent);
    return agent;
  }

  #isForbidden(address: string): boolean {
    return isMetadataAddress(address) || (!this.#originIsPrivate && this.#isPrivate(address));
  }

  #checkPeer(request: ClientRequest, socket: Socket, own: boolean): void {
    const address = socket.remoteAddress ?? '';
    if (own) this.#originIsPrivate = this.#isPrivate(address);
    else if (this.#isForbidden(address)) request.destroy(privateAddressError(address));
  }

  #limitConnecting(request: ClientRequest, socket: Socket): void {
    const message = `no connection within ${this.#limits.connectTimeoutMs} ms`;
    const fault = Object.assign(new Error(message), { code: 'ETIMEDOUT' });
    const timer = setTimeout(() => request.destroy(fault), this.#limits.connectTimeoutMs).unref();
    const done = () => clearTimeout(timer);
    socket.once(request.protocol === 'https:' ? 'secureConnect' : 'connect', done);
    socket.once('close', done);
  }
}

/** Where a redirect leads, if it may lead there. */
function redirectTarget(from: URL, location: string, place: string): URL {
  if (!URL.canParse(location, from.href)) {
    throw new AppError('source_refused', `${place}: redirects to an unreadable URL`);
  }
  const to = new URL(location, from);
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
