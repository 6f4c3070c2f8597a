import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { AppError, errnoOf, messageOf } from '../shared/errors.js';
import { parserFault, type Refusal, refuse } from './refusal.js';

/** Bounds on connections; times in milliseconds. */
export interface ConnectionLimits {
  /** Open at once; further ones are closed at once. */
  readonly maxConnections: number;
  /** Size of a request's line and headers, in bytes. */
  readonly maxHeaderBytes: number;
  /** From the connection or the request's first byte to the end of its headers. */
  readonly headersTimeoutMs: number;
  /** From there to the end of its body. */
  readonly bodyTimeoutMs: number;
  /** Between two requests. */
  readonly keepAliveMs: number;
  /** In which a client that gets an answer takes none of it. */
  readonly sendTimeoutMs: number;
}

/** Node looks for late connections this often; its own default of 30 s would be the real limit. */
const CHECK_INTERVAL_MS = 500;

/**
 * Connections that the kernel keeps for us until we look; it keeps as many as its own bound allows. One that it drops
 * instead is tried again by its client after a second, and Node's 511 come together while other work holds this thread.
 */
const BACKLOG = 4_096;

/**
 * Requests of one connection whose answers may be open at once. Two thousand fit into one read, and their answers would
 * all wait in memory for a client that does not take them.
 */
const MAX_PIPELINED = 32;

/** Those of them that are worked on at once: answers leave in their order, so that a later one would only wait. */
const PIPELINED_AT_ONCE = 4;

/** Told of what never came to be a request of the application. */
export interface ServerEvents {
  onRefusal(refusal: Refusal): void;
  /** There were as many connections as may be open. */
  onFull(): void;
}

/** A listening HTTP server. */
export interface HttpServer {
  /** Where it listens, e.g. `http://localhost:3000`. */
  readonly url: string;
  readonly port: number;
  /** Stops accepting, lets open requests end for at most `graceMs`, then closes every connection. */
  close(graceMs: number): Promise<void>;
}

/**
 * Listens. Without a host it takes `::` (IPv6 and IPv4 in one), or `0.0.0.0` where the machine has no IPv6.
 * @throws AppError `config_invalid` when the address is taken, forbidden or not of this machine
 */
export async function listen(
  answer: RequestListener,
  port: number,
  host: string | undefined,
  limits: ConnectionLimits,
  events: ServerEvents,
): Promise<HttpServer> {
  const server = boundedServer(answer, limits, events);
  try {
    await bind(server, port, host ?? '::').catch((error: unknown) => {
      const errno = errnoOf(error);
      if (host !== undefined || (errno !== 'EAFNOSUPPORT' && errno !== 'EADDRNOTAVAIL')) throw error;
      return bind(server, port, '0.0.0.0');
    });
  } catch (cause) {
    throw new AppError('config_invalid', `cannot listen on port ${port}: ${explain(cause)}`, { cause });
  }
  const { address, family, port: actual } = server.address() as AddressInfo;
  const wildcard = address === '::' || address === '0.0.0.0';
  const shown = wildcard ? 'localhost' : family === 'IPv6' ? `[${address}]` : address;
  return { url: `http://${shown}:${actual}`, port: actual, close: (graceMs) => close(server, graceMs) };
}

function boundedServer(answer: RequestListener, limits: ConnectionLimits, events: ServerEvents): Server {
  const server = createServer({
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.headersTimeoutMs + limits.bodyTimeoutMs,
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
    // Node would refuse it without a word; the application does so in its own form.
    requireHostHeader: false,
  });
  // None is dropped silently: their size is bounded, and the application counts them.
  server.maxHeadersCount = 0;
  server.maxConnections = limits.maxConnections;
  server.on('drop', () => events.onFull());

  const pipelines = new WeakMap<Duplex, Pipeline>();
  const onRequest: RequestListener = (request, response) => {
    const { socket } = request;
    let pipeline = pipelines.get(socket);
    if (!pipeline) {
      pipeline = new Pipeline();
      pipelines.set(socket, pipeline);
      socket.once('close', () => pipelines.get(socket)?.end());
    }
    if (pipeline.size === MAX_PIPELINED) socket.destroy();
    else pipeline.take(request, response, () => answer(request, response));
  };
  server.on('request', onRequest).on('checkExpectation', onRequest);
  server.on('connection', stopParsingWhenCut);
  // Node sets this time anew with each request, and `keepAliveMs` in its place between two.
  server.setTimeout(limits.sendTimeoutMs, (socket) => {
    const pipeline = pipelines.get(socket);
    const idle = pipeline?.size === 0;
    // A client that stops reading its answer is cut off. While there is nothing to read, it may wait.
    if (idle || (pipeline && socket.writableLength > 0)) socket.destroy();
    else socket.setTimeout(limits.sendTimeoutMs);
  });
  server.on('clientError', (error, socket) => {
    if (socket.writableEnded) return;
    const fault = parserFault(error);
    const pipeline = pipelines.get(socket);
    const say = (): void => {
      // In the middle of an answer, another one would be taken for a part of it.
      if (!fault || pipeline?.begun || !socket.writable) socket.destroy();
      else events.onRefusal(refuse(socket, fault, errnoOf(error) ?? ''));
    };
    // Said sooner, it would be taken for the answer to a request before this one.
    if (fault && pipeline) pipeline.afterWhole(say);
    else say();
  });
  server.on('connect', (_, socket: Duplex) => {
    socket.on('error', () => undefined);
    events.onRefusal(refuse(socket, new AppError('bad_request', 'this is no proxy'), 'CONNECT'));
  });
  return server;
}

/** The requests of a connection that are not answered yet, in their order. */
class Pipeline {
  readonly #open = new Map<ServerResponse, IncomingMessage>();
  readonly #waiting = new Set<() => void>();
  #afterWhole: (() => void) | undefined;

  get size(): number {
    return this.#open.size;
  }

  /** Whether a part of an answer has been sent, and not yet all of it. */
  get begun(): boolean {
    return [...this.#open.keys()].some(
      ({ headersSent, writableFinished }) => headersSent && !writableFinished,
    );
  }

  /** Answers a request, at once or after those before it; its time begins with its turn. */
  take(request: IncomingMessage, response: ServerResponse, answer: () => void): void {
    const { socket } = request;
    this.#open.set(response, request);
    // What is written to a response after its connection has ended goes nowhere.
    response.on('error', () => undefined);
    response.on('close', () => {
      this.#open.delete(response);
      // On a connection that has ended nobody wants the others.
      if (!response.writableFinished || socket.writableEnded) this.#waiting.clear();
      this.#begin(this.#waiting.values().next().value);
      if (!this.#afterWhole || this.#hasWhole) return;
      this.#afterWhole();
      this.#afterWhole = undefined;
    });
    if (this.#open.size <= PIPELINED_AT_ONCE) {
      answer();
      return;
    }
    this.#waiting.add(answer);
    // Once all that came with it has been parsed, it is known whether the body has. While nobody reads one that is still
    // to come, nothing more comes, and it would be late. There is one such request at most, the last.
    setImmediate(() => {
      if (!request.complete) this.#begin(answer);
    });
  }

  /**
   * Ends every request of a closed connection. Node tells only the response that is being sent; those behind it have no
   * socket yet, would never learn of it, and would keep what they hold.
   */
  end(): void {
    this.#waiting.clear();
    for (const response of [...this.#open.keys()]) {
      const told = response.socket !== null;
      response.destroy();
      if (!told) response.emit('close');
    }
  }

  #begin(answer: (() => void) | undefined): void {
    if (answer && this.#waiting.delete(answer)) answer();
  }

  /** Calls back when no request is left that had come whole: at once, or when they are answered. */
  afterWhole(callback: () => void): void {
    if (this.#hasWhole) this.#afterWhole ??= callback;
    else callback();
  }

  get #hasWhole(): boolean {
    for (const { complete } of this.#open.values()) if (complete) return true;
    return false;
  }
}

/** A part of Node's parser that its documentation leaves out. */
interface Parser {
  /** Called with the headers of each request; see {@link UPGRADE}. */
  onIncoming?: (...args: unknown[]) => number;
}

/** Answered to a parser, this means that what follows is no HTTP, and the parser stops there. */
const UPGRADE = 2;

/**
 * Lets the parser of a connection stop where the connection is cut. It would go on to the end of what was read at once,
 * two thousand requests of 30 µs each. Where Node's parser has changed, that is what happens again.
 */
function stopParsingWhenCut(socket: Duplex & { readonly parser?: Parser | null }): void {
  const { parser } = socket;
  const { onIncoming } = parser ?? {};
  if (!parser || !onIncoming) return;
  parser.onIncoming = (...args) => (socket.destroyed ? UPGRADE : onIncoming.apply(parser, args));
}

function bind(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function explain(error: unknown): string {
  switch (errnoOf(error)) {
    case 'EADDRINUSE':
      return 'it is in use; set PORT to another one';
    case 'EACCES':
      return 'it is not permitted for this user; set PORT to one above 1023';
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return 'HOST is no address of this machine';
    default:
      return messageOf(error);
  }
}

async function close(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(timer);
}
