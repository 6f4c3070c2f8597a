import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest, Agent as TlsAgent } from 'node:https';
import { isIP, type LookupFunction, type Socket } from 'node:net';
import { guardedLookup, isMetadataAddress, isPrivateAddress, privateAddressError } from './address.js';
import type { WireLimits, WireParts } from './wire.js';

/**
 * Two pools of connections: one to the configured origin, wherever that is, and one to all other hosts, which
 * reaches private addresses only if the origin was reached at one itself, and those of metadata services never.
 */
export class Connections {
  readonly #connectTimeoutMs: number;
  readonly #isPrivate: (address: string) => boolean;
  readonly #own: Pool;
  readonly #foreign: Pool;
  #originIsPrivate = false;

  constructor({ connectTimeoutMs }: Pick<WireLimits, 'connectTimeoutMs'>, parts: WireParts) {
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#isPrivate = parts.isPrivate ?? isPrivateAddress;
    const guarded = guardedLookup((address) => this.#isForbidden(address), parts.lookup);
    this.#own = poolOf(parts.lookup, parts.ca);
    this.#foreign = poolOf(guarded, parts.ca);
  }

  /**
   * Sends a GET and returns its answer when the headers are there. `own` says that `url` is of the configured
   * origin. Aborting `signal` ends the request and, later, the body, with the signal's reason.
   */
  get(
    url: URL,
    own: boolean,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      // A literal address is never looked up.
      if (!own && isLiteral(url.hostname) && this.#isForbidden(url.hostname)) {
        throw privateAddressError(url.hostname);
      }
      if (signal.aborted) throw signal.reason;
      const request = send(url, own ? this.#own : this.#foreign, headers);
      let answer: IncomingMessage | undefined;
      const stop = () => {
        (answer ?? request).destroy(signal.reason);
        reject(signal.reason);
      };
      signal.addEventListener('abort', stop, { once: true });
      request.on('socket', (socket: Socket) => {
        if (!socket.connecting) return;
        this.#limitConnecting(request, socket);
        socket.once('connect', () => this.#connected(request, socket, own));
      });
      // Stays in place for the time of the body, whose failures reach its reader by another way.
      request.on('error', reject);
      request.on('close', () => signal.removeEventListener('abort', stop));
      request.on('response', (response) => {
        answer = response;
        response.on('error', () => undefined);
        resolve(response);
      });
    });
  }

  /** Ends all connections. */
  close(): void {
    for (const { http, https } of [this.#own, this.#foreign]) {
      http.destroy();
      https.destroy();
    }
  }

  #isForbidden(address: string): boolean {
    return isMetadataAddress(address) || (!this.#originIsPrivate && this.#isPrivate(address));
  }

  #connected(request: ClientRequest, socket: Socket, own: boolean): void {
    const address = socket.remoteAddress ?? '';
    if (own) this.#originIsPrivate = this.#isPrivate(address);
    else if (this.#isForbidden(address)) request.destroy(privateAddressError(address));
  }

  #limitConnecting(request: ClientRequest, socket: Socket): void {
    const fault = Object.assign(new Error(`no connection within ${this.#connectTimeoutMs} ms`), {
      code: 'ETIMEDOUT',
    });
    const timer = setTimeout(() => request.destroy(fault), this.#connectTimeoutMs).unref();
    const done = () => clearTimeout(timer);
    socket.once(request.protocol === 'https:' ? 'secureConnect' : 'connect', done);
    socket.once('close', done);
  }
}

interface Pool {
  readonly http: Agent;
  readonly https: TlsAgent;
}

/** How long an idle connection is kept for the next file. */
const IDLE_CONNECTION_MS = 4_000;

function poolOf(lookup: LookupFunction | undefined, ca: string | undefined): Pool {
  const options = { keepAlive: true, timeout: IDLE_CONNECTION_MS, ...(lookup ? { lookup } : {}) };
  return {
    http: new Agent(options),
    https: new TlsAgent({ ...options, ...(ca === undefined ? {} : { ca }) }),
  };
}

function send(url: URL, pool: Pool, headers: Readonly<Record<string, string>>): ClientRequest {
  const request =
    url.protocol === 'https:'
      ? httpsRequest(url, { agent: pool.https, headers })
      : httpRequest(url, { agent: pool.http, headers });
  request.end();
  return request;
}

function isLiteral(hostname: string): boolean {
  return isIP(hostname.replace(/^\[|\]$/g, '')) !== 0;
}
