import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Certificate } from './certificate.js';
import { type Content, sha256Of, sizeOf, sliceOf } from './content.js';
import { listen } from './listen.js';
import { type Answer, applyFault, type Fault, reply } from './origin-fault.js';

export type { Fault, Framing } from './origin-fault.js';

/** One request, as it arrived. */
export interface RecordedRequest {
  readonly method: string;
  /** Decoded, without the query. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  /** When it arrived, on the clock of `performance.now()`. */
  readonly at: number;
  /** Bytes of body sent in answer so far. */
  bytesSent: number;
}

/** How a file is served. */
export interface ServeOptions {
  contentType?: string;
  /** Default: the sha256 in quotes for content in memory, a made-up one for generated content. `null`: none. */
  etag?: string | null;
  /** Further headers. */
  headers?: Record<string, string>;
}

/** Where and how an origin listens. */
export interface OriginOptions {
  /** `127.0.0.1` (default), `::1`, `127.0.0.2`, …: hosts that count as different ones. */
  host?: string;
  /** Serves https. */
  tls?: Certificate;
  /** Bytes of body per second and request; default: as fast as it goes. */
  bytesPerSecond?: number;
}

interface Served extends ServeOptions {
  content: Content;
  redirect?: { location: string; status: number };
}

const EMPTY = new Uint8Array(0);

/**
 * A real HTTP server for tests: serves files by path with Range, `If-Range` and ETag, misbehaves on demand,
 * and remembers every request.
 *
 * ```ts
 * const origin = await Origin.start();
 * onTestFinished(() => origin.close());
 * origin.put('/model.onnx', bytes);
 * origin.fault('/model.onnx', { kind: 'cut', afterBytes: 1000 }); // the first request only
 * ```
 */
export class Origin {
  /** Without a slash at the end. */
  readonly url: string;
  readonly port: number;
  readonly requests: RecordedRequest[] = [];
  /** Bytes of body sent in answer to all requests. */
  bytesSent = 0;
  /** Bytes of body per second and request, from the next request on; `undefined`: as fast as it goes. */
  bytesPerSecond: number | undefined;
  readonly #files = new Map<string, Served>();
  readonly #once = new Map<string, Fault[]>();
  readonly #always = new Map<string, Fault>();
  readonly #sockets = new Set<Socket>();
  readonly #server: ReturnType<typeof createServer>;

  private constructor(server: ReturnType<typeof createServer>, options: OriginOptions) {
    const { port, address, family } = server.address() as AddressInfo;
    this.port = port;
    this.url = `${options.tls ? 'https' : 'http'}://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
    this.bytesPerSecond = options.bytesPerSecond;
    this.#server = server;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    server.on('request', (request, response) => {
      this.#respond(request, response).catch(() => response.destroy());
    });
  }

  /** Starts a server on a free port. */
  static async start(options: OriginOptions = {}): Promise<Origin> {
    const server = options.tls ? createTlsServer(options.tls) : createServer();
    await listen(server, options.host ?? '127.0.0.1');
    return new Origin(server, options);
  }

  /** Serves `content` at `path` (decoded, beginning with a slash). */
  put(path: string, content: Content, options: ServeOptions = {}): void {
    this.#files.set(path, { content, ...options });
  }

  /** Answers `path` with a redirect. */
  redirect(path: string, location: string, status = 302, headers: Record<string, string> = {}): void {
    this.#files.set(path, { content: EMPTY, headers, redirect: { location, status } });
  }

  /** Answers `path` with 404 again. */
  remove(path: string): void {
    this.#files.delete(path);
  }

  /** The next requests for `path` (`*`: any path) meet these faults, one each; later ones are answered well. */
  fault(path: string, ...faults: Fault[]): void {
    this.#once.set(path, [...(this.#once.get(path) ?? []), ...faults]);
  }

  /** Every request for `path` (`*`: any path) meets this fault, once those of {@link fault} are used up. */
  faultAlways(path: string, fault: Fault): void {
    this.#always.set(path, fault);
  }

  /** Behaves well from now on. */
  heal(): void {
    this.#once.clear();
    this.#always.clear();
  }

  /** The requests for `path`. */
  requestsTo(path: string): RecordedRequest[] {
    return this.requests.filter((request) => request.path === path);
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Cuts all connections, and goes on listening. */
  disconnect(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Ends the server and all its connections. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.disconnect();
    await closed;
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, search } = new URL(request.url ?? '/', this.url);
    const recorded: RecordedRequest = {
      method: request.method ?? '',
      path: decodeURIComponent(pathname),
      query: search,
      headers: request.headers,
      at: performance.now(),
      bytesSent: 0,
    };
    this.requests.push(recorded);
    const fault = this.#faultFor(recorded.path);
    const answer = this.#plan(recorded, fault?.kind === 'ignore-range');
    if (fault) applyFault(answer, fault);
    if (request.method === 'HEAD') answer.end = answer.start;
    await this.#send(answer, recorded, response);
  }

  #faultFor(path: string): Fault | undefined {
    for (const key of [path, '*']) {
      const fault = this.#once.get(key)?.shift();
      if (fault) return fault;
    }
    return this.#always.get(path) ?? this.#always.get('*');
  }

  #plan({ path, headers }: RecordedRequest, ignoreRange: boolean): Answer {
    const served = this.#files.get(path);
    const answer: Answer = {
      status: 200,
      headers: {},
      content: served?.content ?? EMPTY,
      start: 0,
      end: sizeOf(served?.content ?? EMPTY),
      framing: 'length',
      stopAfter: Infinity,
      stop: 'end',
      bytesPerSecond: this.bytesPerSecond,
      isEndless: false,
    };
    if (!served) return reply(answer, 404, 'not found');
    Object.assign(answer.headers, served.headers);
    if (served.redirect) {
      answer.headers.location = served.redirect.location;
      return reply(answer, served.redirect.status, 'see there');
    }
    const etag = served.etag === undefined ? etagOf(served.content) : served.etag;
    answer.headers['accept-ranges'] = 'bytes';
    answer.headers['content-type'] = served.contentType ?? 'application/octet-stream';
    if (etag !== null) answer.headers.etag = etag;
    const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '');
    const condition = headers['if-range'];
    if (!range || ignoreRange || (condition !== undefined && condition !== etag)) return answer;
    const size = answer.end;
    const start = Number(range[1]);
    if (start >= size) {
      answer.headers['content-range'] = `bytes */${size}`;
      return reply(answer, 416, '');
    }
    answer.status = 206;
    answer.start = start;
    answer.end = range[2] ? Math.min(size, Number(range[2]) + 1) : size;
    answer.headers['content-range'] = `bytes ${start}-${answer.end - 1}/${size}`;
    return answer;
  }

  async #send(answer: Answer, recorded: RecordedRequest, response: ServerResponse): Promise<void> {
    const { start, end, stopAfter, stop, bytesPerSecond, isEndless } = answer;
    const { socket } = response;
    if (stopAfter < 0) {
      if (stop === 'reset') socket?.resetAndDestroy();
      else if (stop === 'cut') socket?.destroy();
      return;
    }
    if (answer.framing === 'length') answer.headers['content-length'] = String(end - start);
    if (answer.framing === 'close') {
      response.useChunkedEncodingByDefault = false;
      response.shouldKeepAlive = false;
    }
    response.writeHead(answer.status, answer.headers);
    response.flushHeaders();
    const last = Math.min(end, start + stopAfter);
    // Ten pieces a second at least, so that a slow rate is a steady one.
    const piece = bytesPerSecond ? Math.max(1, Math.min(65_536, Math.ceil(bytesPerSecond / 20))) : 65_536;
    for (let at = start; at < last || isEndless; at += piece) {
      const bytes = at < last ? sliceOf(answer.content, at, Math.min(last, at + piece)) : Buffer.alloc(piece);
      if (bytesPerSecond) await sleep((bytes.length * 1000) / bytesPerSecond, undefined, { ref: false });
      if (response.destroyed || socket?.destroyed) return;
      recorded.bytesSent += bytes.length;
      this.bytesSent += bytes.length;
      if (!response.write(bytes)) await drained(response);
    }
    if (stop === 'end') response.end();
    else if (stop === 'reset') socket?.resetAndDestroy();
    else if (stop === 'cut') socket?.destroySoon();
  }
}

function etagOf(content: Content): string {
  return content instanceof Uint8Array ? `"${sha256Of(content)}"` : `"generated-${content.size}"`;
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}
