import { randomUUID } from 'node:crypto';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { AppError, errnoOf, explainListening } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import type { RequestMetrics } from '../telemetry/ports.js';
import { problemOf } from './errors.js';

/** Bounds on connections; times in milliseconds. */
export interface ConnectionLimits {
  /** Open at once; further ones are closed immediately. */
  readonly maxConnections: number;
  /** Size of a request's line and headers, in bytes. */
  readonly maxHeaderBytes: number;
  /** From the connection or the request's first byte to the end of its headers. */
  readonly headersTimeoutMs: number;
  /** From there to the end of its body. */
  readonly bodyTimeoutMs: number;
  /** Between two requests. */
  readonly keepAliveMs: number;
  /** How long a client may read nothing of an answer that is being sent. */
  readonly sendTimeoutMs: number;
}

/** Where connections and requests are recorded that never reach the application. */
export interface ServerDeps {
  readonly metrics: Pick<RequestMetrics, 'began' | 'answered' | 'refused'>;
  readonly log: Log;
}

/** Interval in ms at which late connections are looked for; Node's own default of 30 s would be the real limit. */
const CHECK_INTERVAL_MS = 500;

/**
 * Connections that the kernel keeps until they are accepted; it keeps as many as its own bound allows. One that it drops
 * instead is tried again by its client after a second, and Node's 511 arrive together while other work holds this thread.
 */
const BACKLOG = 4_096;

/** Requests of one connection that may be open. Two thousand fit into one read, and all answers would wait in memory. */
const MAX_PIPELINED = 32;

/** How long a refused client may still send before its connection is cut, in ms. */
const LINGER_MS = 500;

/** Interval in ms at which a full server logs that it is. */
const FULL_EVERY_MS = 10_000;

export interface HttpServer {
  /** Where it listens, e.g. `http://localhost:3000`. */
  readonly url: string;
  readonly port: number;
  /** Stops accepting, lets open requests end for at most `graceMs`, then closes every connection. */
  close(graceMs: number): Promise<void>;
}

/**
 * Listens. Without a host it takes `::` (IPv6 and IPv4 in one), or `0.0.0.0` where the machine has no IPv6.
 * @throws AppError `config_invalid` when the address is in use, forbidden or not one of this machine
 */
export async function listen(
  answer: RequestListener,
  port: number,
  host: string | undefined,
  limits: ConnectionLimits,
  deps: ServerDeps,
): Promise<HttpServer> {
  const server = createBoundedServer(answer, limits, deps);
  try {
    await bind(server, port, host ?? '::').catch((error: unknown) => {
      const errno = errnoOf(error);
      if (host !== undefined || (errno !== 'EAFNOSUPPORT' && errno !== 'EADDRNOTAVAIL')) throw error;
      return bind(server, port, '0.0.0.0');
    });
  } catch (cause) {
    const message = `cannot listen on port ${port}: ${explainListening(cause, host)}`;
    throw new AppError('config_invalid', message, { cause });
  }
  const { address, family, port: actual } = server.address() as AddressInfo;
  const wildcard = address === '::' || address === '0.0.0.0';
  const shown = wildcard ? 'localhost' : family === 'IPv6' ? `[${address}]` : address;
  return { url: `http://${shown}:${actual}`, port: actual, close: (graceMs) => close(server, graceMs) };
}

function createBoundedServer(answer: RequestListener, limits: ConnectionLimits, deps: ServerDeps): Server {
  const server = createServer({
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.headersTimeoutMs + limits.bodyTimeoutMs,
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
    // Node would refuse it without an answer; the application does so in its own form.
    requireHostHeader: false,
  });
  // None is dropped silently: their size is bounded, and the application counts them.
  server.maxHeadersCount = 0;
  server.maxConnections = limits.maxConnections;
  server.on('drop', warnWhenFull(deps));

  /** Responses of each connection that are not finished, in the order of their requests. */
  const open = new Map<Duplex, Set<ServerResponse>>();
  const openOn = (socket: Duplex): Set<ServerResponse> => {
    let responses = open.get(socket);
    if (!responses) {
      responses = new Set();
      open.set(socket, responses);
      socket.once('close', () => {
        endAll(openOn(socket));
        open.delete(socket);
      });
    }
    return responses;
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    const responses = openOn(socket);
    // Node parses on to the end of what it has read, also after the connection was cut.
    if (socket.destroyed || responses.size >= MAX_PIPELINED) {
      socket.destroy();
      // Node would make an error with a stack for each of them.
      request.destroy();
      return;
    }
    responses.add(response);
    response.once('close', () => responses.delete(response));
    // Writes after the connection has ended are ignored.
    response.on('error', () => undefined);
    answer(request, response);
  };
  server.on('request', onRequest).on('checkExpectation', onRequest);
  cutStalled(server, open, limits.sendTimeoutMs);
  server.on('clientError', (error, socket) => {
    if (socket.writableEnded) return;
    const fault = parserFault(error);
    const answerFault = (): void => {
      // Within a response that has begun, another one would be taken for a part of it.
      const begun = [...openOn(socket)].some(
        ({ headersSent, writableFinished }) => headersSent && !writableFinished,
      );
      if (!fault || begun || !socket.writable) socket.destroy();
      else refuse(socket, fault, errnoOf(error) ?? '', deps);
    };
    // Sent before the responses to earlier requests, it would be taken for one of them.
    const earlier = [...openOn(socket)].findLast(({ req }) => req.complete);
    if (fault && earlier) earlier.once('close', answerFault);
    else answerFault();
  });
  server.on('connect', (_, socket: Duplex) => {
    socket.on('error', () => undefined);
    refuse(socket, new AppError('bad_request', 'CONNECT is not supported'), 'CONNECT', deps);
  });
  return server;
}

/**
 * Closes connections whose client stops reading its answer. Not by Node's timer of a socket: a write that the kernel took
 * in part counts as movement when that timer ends, and the client would have twice the time.
 */
function cutStalled(server: Server, open: Iterable<readonly [Duplex, unknown]>, sendTimeoutMs: number): void {
  const stalls = new WeakMap<Duplex, { readonly taken: number; readonly checks: number }>();
  const check = (): void => {
    for (const [socket] of open) {
      const taken = takenByKernel(socket as HandledSocket);
      const last = stalls.get(socket);
      // While there is nothing to read, it may wait. Checks are counted and not time: a busy thread moves no bytes either.
      const checks = socket.writableLength > 0 && last?.taken === taken ? last.checks + 1 : 0;
      stalls.set(socket, { taken, checks });
      if (checks * CHECK_INTERVAL_MS >= sendTimeoutMs) socket.destroy();
    }
  };
  server.once('listening', () => {
    const timer = setInterval(check, CHECK_INTERVAL_MS);
    server.once('close', () => clearInterval(timer));
  });
}

/** Node has no documented way to tell how much of a write the kernel has taken; its own timer reads this, too. */
type HandledSocket = Socket & {
  readonly _handle?: { readonly bytesWritten: number; readonly writeQueueSize: number };
};

function takenByKernel({ _handle, bytesWritten, writableLength }: HandledSocket): number {
  return _handle ? _handle.bytesWritten - _handle.writeQueueSize : bytesWritten - writableLength;
}

/**
 * Ends the responses of a closed connection. Node tells only the one that is being sent; those behind it have no socket yet,
 * would never learn of it, and would keep what they hold.
 */
function endAll(responses: ReadonlySet<ServerResponse>): void {
  for (const response of [...responses]) {
    const told = response.socket !== null;
    response.destroy();
    if (!told) response.emit('close');
  }
}

function warnWhenFull({ metrics, log }: ServerDeps): () => void {
  let closed = 0;
  let loggedAt = Number.NEGATIVE_INFINITY;
  return () => {
    metrics.refused('connections');
    closed += 1;
    if (performance.now() - loggedAt < FULL_EVERY_MS) return;
    loggedAt = performance.now();
    log.warn({ closed, gate: 'connections' }, 'MAX_CONNECTIONS reached; new connections are closed');
    closed = 0;
  };
}

/** Returns the error of a client whose request Node's parser or clock gave up; `undefined` where the connection broke. */
function parserFault(error: Error): AppError | undefined {
  const reason = errnoOf(error) ?? '';
  if (reason === 'HPE_HEADER_OVERFLOW') {
    return new AppError('headers_too_large', 'the request line and the headers are too long');
  }
  if (reason === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new AppError('request_timeout', 'the request did not arrive in time');
  }
  if (reason === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') {
    return new AppError('body_too_large', 'the chunk extensions are too long');
  }
  if (!reason.startsWith('HPE_')) return undefined;
  return new AppError('bad_request', 'the request is not well-formed HTTP/1.1');
}

/** Writes a problem document straight to a connection, and closes it. */
function refuse(socket: Duplex, error: AppError, reason: string, { metrics, log }: ServerDeps): void {
  const requestId = randomUUID();
  const problem = problemOf(error, requestId);
  const { status, code } = problem;
  const body = JSON.stringify(problem);
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Refused'}`,
      'Content-Type: application/problem+json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Cache-Control: no-store',
      'X-Content-Type-Options: nosniff',
      `X-Request-Id: ${requestId}`,
      `Date: ${new Date().toUTCString()}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  );
  // Closed at once, what the client still sends would be answered by a reset that overtakes the document.
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
  metrics.began();
  metrics.answered('-', 'unreadable', status, 0);
  log.info({ request_id: requestId, status, code, reason }, 'request refused');
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

async function close(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(timer);
}
