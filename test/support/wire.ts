import { connect, type Socket } from 'node:net';

/** Builds a request that is well-formed HTTP, whatever its parts say; headers are written as given. */
export function requestBytes(
  method: string,
  path: string,
  headers: readonly (readonly [string, string])[] = [],
  body?: Uint8Array | string,
): Buffer {
  const bytes = body === undefined ? Buffer.alloc(0) : Buffer.from(body as Uint8Array);
  const lines = [['Host', 'localhost'], ...headers].map(([name, value]) => `${name}: ${value}\r\n`);
  if (body !== undefined) lines.push(`Content-Length: ${bytes.length}\r\n`);
  return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1'), bytes]);
}

export const JSON_TYPE = ['Content-Type', 'application/json'] as const;

/** An answer as it came over the wire. */
export interface Answer {
  readonly status: number;
  readonly headers: HeaderLines;
  readonly body: Buffer;
  /** Whether the server keeps the connection open. */
  readonly stays: boolean;
}

/** The headers of an answer, parsed when they are read: a flood of answers is cheap to receive. */
export class HeaderLines {
  readonly #lines: string;

  constructor(lines: string) {
    this.#lines = `${lines}\r\n`;
  }

  /** @param name in lower case; of repeated headers the first counts */
  get(name: string): string | undefined {
    const colon = new RegExp(`\r\n${name}:`, 'i').exec(this.#lines);
    if (!colon) return undefined;
    const from = colon.index + colon[0].length;
    return this.#lines.slice(from, this.#lines.indexOf('\r\n', from)).trim();
  }
}

/** Options of {@link Wire.ask}. */
export interface AskOptions {
  /** Answers to HEAD have no body. */
  readonly head?: boolean;
  /** Uses a new connection for this request only. */
  readonly alone?: boolean;
  /** The same, and closes our direction after the last byte, so that an unfinished request ends. */
  readonly finish?: boolean;
  readonly timeoutMs?: number;
}

/** Options of {@link Wire}. */
export interface WireOptions {
  /** The address of this machine to ask from; default: the kernel's choice. */
  readonly localAddress?: string | undefined;
  /**
   * A connection that idled longer is not used again, for the server may close it while a request is on its way.
   * Default: a second, which is below all limits of idle time.
   */
  readonly maxIdleMs?: number;
}

/** An HTTP client that sends exactly the bytes it is given, over connections that it keeps while they live. */
export class Wire {
  readonly #port: number;
  readonly #localAddress: string | undefined;
  readonly #maxIdleMs: number;
  /** Idle connections, the most recently used last. */
  readonly #idle: { readonly socket: Socket; readonly since: number }[] = [];

  constructor(url: string, { localAddress, maxIdleMs = 1_000 }: WireOptions = {}) {
    this.#port = Number(new URL(url).port);
    this.#localAddress = localAddress;
    this.#maxIdleMs = maxIdleMs;
  }

  /**
   * @returns the answer, or `undefined` where the server closed without one
   * @throws Error when there is no whole answer within `timeoutMs`
   */
  async ask(bytes: Uint8Array, options: AskOptions = {}): Promise<Answer | undefined> {
    const { finish = false, alone = finish, timeoutMs = 15_000, head = false } = options;
    const kept = alone ? undefined : this.#takeIdle();
    kept?.removeAllListeners('end');
    const socket = kept ?? (await open(this.#port, this.#localAddress));
    const answer = await exchange(socket, bytes, { finish, timeoutMs, head });
    if (answer?.stays && !alone && !socket.readableEnded) this.#keep(socket);
    else socket.destroy();
    return answer;
  }

  #takeIdle(): Socket | undefined {
    const last = this.#idle.pop();
    if (!last || performance.now() - last.since < this.#maxIdleMs) return last?.socket;
    // Those before it have idled longer.
    last.socket.destroy();
    this.close();
    return undefined;
  }

  /** Keeps a connection for later requests until the server closes it. */
  #keep(socket: Socket): void {
    this.#idle.push({ socket, since: performance.now() });
    socket.once('end', () => {
      const at = this.#idle.findIndex((idle) => idle.socket === socket);
      if (at >= 0) this.#idle.splice(at, 1);
      socket.destroy();
    });
  }

  close(): void {
    for (const { socket } of this.#idle) socket.destroy();
    this.#idle.length = 0;
  }
}

/** Opens a connection to a port of this machine. */
export function open(port: number, localAddress?: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      ...(localAddress && { localAddress }),
      noDelay: true,
      allowHalfOpen: true,
    });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      socket.on('error', () => undefined);
      resolve(socket);
    });
  });
}

function exchange(
  socket: Socket,
  bytes: Uint8Array,
  { finish, timeoutMs, head }: Required<Omit<AskOptions, 'alone'>>,
): Promise<Answer | undefined> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    const end = (result: Answer | undefined | Error): void => {
      clearTimeout(timer);
      socket.off('data', onData).off('end', onClose).off('close', onClose);
      if (result instanceof Error) {
        socket.destroy();
        reject(result);
      } else resolve(result);
    };
    const timer = setTimeout(() => end(new Error(`no whole answer within ${timeoutMs} ms`)), timeoutMs);
    const onData = (piece: Buffer): void => {
      pieces.push(piece);
      const answer = parseAnswer(Buffer.concat(pieces), head, false);
      if (answer) end(answer);
    };
    const onClose = (): void => {
      const received = afterInterim(Buffer.concat(pieces));
      end(
        received.length === 0
          ? undefined
          : (parseAnswer(received, head, true) ??
              new Error(`half an answer: ${received.toString('latin1', 0, 200)}`)),
      );
    };
    socket.on('data', onData).once('end', onClose).once('close', onClose);
    if (finish) socket.end(bytes);
    else socket.write(bytes);
  });
}

/** Skips answers that are not final, such as `100 Continue`. */
function afterInterim(received: Buffer): Buffer {
  const end = received.indexOf('\r\n\r\n');
  const interim = end !== -1 && /^HTTP\/1\.1 1\d\d /.test(received.toString('latin1', 0, 13));
  return interim ? afterInterim(received.subarray(end + 4)) : received;
}

/** Returns the first final answer in the received bytes; `undefined` while it is incomplete. */
export function parseAnswer(all: Buffer, head: boolean, closed: boolean): Answer | undefined {
  const received = afterInterim(all);
  const end = received.indexOf('\r\n\r\n');
  if (end === -1) return undefined;
  const text = received.toString('latin1', 0, end);
  const [statusLine = ''] = text.split('\r\n', 1);
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1]);
  if (!Number.isInteger(status)) throw new Error(`no status line: ${statusLine.slice(0, 100)}`);
  const rest = received.subarray(end + 4);
  const headers = new HeaderLines(text);
  const body = bodyOf(rest, headers, head || status === 204 || status === 304, closed);
  const stays = headers.get('connection')?.toLowerCase() !== 'close';
  return body && { status, headers, body, stays };
}

function bodyOf(rest: Buffer, headers: HeaderLines, none: boolean, closed: boolean): Buffer | undefined {
  if (none) return Buffer.alloc(0);
  const length = headers.get('content-length');
  if (length !== undefined)
    return rest.length >= Number(length) ? rest.subarray(0, Number(length)) : undefined;
  if (headers.get('transfer-encoding') !== 'chunked') return closed ? rest : undefined;
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = rest.indexOf('\r\n', at);
    if (line === -1) return undefined;
    const size = Number.parseInt(rest.toString('latin1', at, line), 16);
    const next = line + 2 + size + 2;
    if (rest.length < next) return undefined;
    if (size === 0) return Buffer.concat(chunks);
    chunks.push(rest.subarray(line + 2, line + 2 + size));
    at = next;
  }
}
