import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../src/shared/errors.js';
import { open, requestBytes, Wire } from '../support/wire.js';

/** Limits of the daemon on a connection, in milliseconds. */
export interface RudeLimits {
  readonly headersMs: number;
  readonly bodyMs: number;
  readonly idleMs: number;
  readonly sendMs: number;
}

/** A path whose answer is far larger than what the two kernels buffer. */
const LARGE = '/Xenova/all-MiniLM-L6-v2/resolve/main/onnx/model_quantized.onnx';
const LARGE_BYTES = 22_972_370;
const BODY = JSON.stringify({ text: 'what is the weather in Lisbon tomorrow?' });
const HEAD = 'POST /classify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n';
const LIVEZ = requestBytes('GET', '/livez');
const ONCE = { times: 1, request: LIVEZ };

/** How often a slow client sends a byte, in milliseconds. */
const DRIP_MS = 250;

/** One way of being rude. */
export interface Rudeness {
  readonly kind: string;
  /** A part of what it asks for, which a polite client asks for in its place, and reads; default: `/livez`, once. */
  readonly politely?: { readonly times: number; readonly request: Buffer };
  /** When the server has to have closed the connection, in milliseconds; 0: at once. */
  closedAfterMs(limits: RudeLimits): number;
  /** Misbehaves until the server closes. @returns the bytes received */
  run(socket: Socket, limits: RudeLimits): Promise<string>;
}

/** Every way of being rude. */
export const RUDENESS: readonly Rudeness[] = [
  {
    kind: 'sends nothing',
    closedAfterMs: ({ headersMs }) => headersMs,
    run: (socket) => untilClosed(socket),
  },
  {
    kind: 'sends its headers slowly',
    closedAfterMs: ({ headersMs }) => headersMs,
    run: (socket) => drip(socket, `${HEAD}X-Slow: ${'a'.repeat(4_000)}`),
  },
  {
    kind: 'sends its body slowly',
    closedAfterMs: ({ headersMs, bodyMs }) => headersMs + bodyMs,
    run: (socket) => {
      socket.write(`${HEAD}Content-Length: 4000\r\n\r\n`);
      return drip(socket, '{'.repeat(4_000));
    },
  },
  {
    kind: 'sends its chunks slowly',
    closedAfterMs: ({ headersMs, bodyMs }) => headersMs + bodyMs,
    run: (socket) => {
      socket.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`);
      return drip(socket, '1\r\n{\r\n'.repeat(1_000));
    },
  },
  {
    kind: 'asks once and stays idle',
    closedAfterMs: ({ idleMs }) => idleMs,
    run: (socket) => {
      socket.write(LIVEZ);
      return untilClosed(socket);
    },
  },
  {
    kind: 'never reads its answer',
    politely: { times: 4, request: requestBytes('GET', LARGE, [['Range', 'bytes=0-1048575']]) },
    closedAfterMs: ({ sendMs }) => sendMs,
    run: async (socket) => {
      socket.pause();
      socket.write(requestBytes('GET', LARGE));
      await untilLetGo(socket);
      const received = await countUntilClosed(socket);
      if (received >= LARGE_BYTES) throw new Error('got its whole answer: the connection was not closed');
      return 'HTTP/1.1 200';
    },
  },
  {
    kind: 'asks a thousand times and never reads',
    politely: { times: 50, request: requestBytes('GET', '/routes') },
    closedAfterMs: ({ sendMs }) => sendMs,
    run: async (socket) => {
      socket.pause();
      socket.write('GET /routes HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(1_000));
      await untilLetGo(socket);
      await countUntilClosed(socket);
      return 'HTTP/1.1 200';
    },
  },
  {
    kind: 'closes its half in the middle of its headers',
    closedAfterMs: () => 0,
    run: (socket) => {
      socket.end(HEAD);
      return untilClosed(socket);
    },
  },
  {
    kind: 'closes its half in the middle of its body',
    closedAfterMs: () => 0,
    run: (socket) => {
      socket.end(`${HEAD}Content-Length: 4000\r\n\r\n{`);
      return untilClosed(socket);
    },
  },
  {
    kind: 'resets in the middle of its body',
    closedAfterMs: () => 0,
    run: async (socket) => {
      socket.write(`${HEAD}Content-Length: 4000\r\n\r\n{`);
      await sleep(20);
      socket.resetAndDestroy();
      return 'HTTP/1.1 400';
    },
  },
  {
    kind: 'goes away before its answer',
    closedAfterMs: () => 0,
    run: async (socket) => {
      socket.write(`${HEAD}Content-Length: ${BODY.length}\r\n\r\n${BODY}`);
      socket.destroy();
      return 'HTTP/1.1 200';
    },
  },
];

/** Node looks for late connections now and then, and adds a second to the idle time that it announces. */
export const SLACK_MS = 2_500;

/** A connection that is open this long after its limit fails, on however slow a machine. */
const PATIENCE_MS = 30_000;

/** Runs one rude client. @returns how late after its limit it was closed, in milliseconds */
export async function beRude(port: number, rudeness: Rudeness, limits: RudeLimits): Promise<number> {
  const socket = await open(port);
  const since = performance.now();
  const patience = rudeness.closedAfterMs(limits) + PATIENCE_MS;
  const timer = setTimeout(
    () => socket.destroy(new Error(`still open ${PATIENCE_MS} ms after its limit`)),
    patience,
  );
  try {
    const received = await rudeness.run(socket, limits);
    if (socket.errored?.message.startsWith('still open')) throw socket.errored;
    if (!/^(HTTP\/1\.1 (200|400|408)|$)/.test(received)) throw new Error(`got ${received.slice(0, 200)}`);
    return performance.now() - since - rudeness.closedAfterMs(limits);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

/** Outcome of a rude client. */
export interface RudeEnd {
  readonly kind: string;
  /** How late after its limit it was closed, in milliseconds. */
  readonly lateMs?: number;
  /** Fault of its end. */
  readonly fault?: string;
}

/** Outcome of rude clients that come together. */
export interface RudeEnds {
  readonly ends: readonly RudeEnd[];
  /** The longest time in ms that their own process did not run: what they measure includes it. */
  readonly ownLagMs: number;
}

/** Runs rude clients of every kind in turn, which arrive within a second. */
export async function beRudeTogether(port: number, clients: number, limits: RudeLimits): Promise<RudeEnds> {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const ends = await arrive(clients, (rudeness) => {
    const { kind } = rudeness;
    return beRude(port, rudeness, limits).then(
      (lateMs): RudeEnd => ({ kind, lateMs }),
      (error: unknown): RudeEnd => ({ kind, fault: messageOf(error) }),
    );
  });
  return { ends, ownLagMs: delay.max / 1e6 };
}

/** Runs as many polite clients, which arrive in the same way. */
export async function bePoliteTogether(url: string, clients: number): Promise<void> {
  await arrive(clients, async ({ politely: { times, request } = ONCE }) => {
    const wire = new Wire(url);
    for (let asked = 0; asked < times; asked += 1) await wire.ask(request, { timeoutMs: 60_000 });
    wire.close();
  });
}

function arrive<T>(clients: number, run: (rudeness: Rudeness) => Promise<T>): Promise<T[]> {
  return Promise.all(
    Array.from({ length: clients }, async (_, index) => {
      await sleep((index / clients) * 1_000);
      return run(RUDENESS[index % RUDENESS.length] as Rudeness);
    }),
  );
}

/** Sends a byte now and then until the server closes. */
async function drip(socket: Socket, text: string): Promise<string> {
  const closed = untilClosed(socket);
  let at = 0;
  const timer = setInterval(() => {
    if (!socket.writable) return;
    socket.write(text.charAt(at) || ' ');
    at += 1;
  }, DRIP_MS);
  try {
    return await closed;
  } finally {
    clearInterval(timer);
  }
}

function untilClosed(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (piece: Buffer) => {
      if (text.length < 1_000) text += piece.toString('latin1');
    });
    socket.once('end', () => resolve(text)).once('close', () => resolve(text));
  });
}

function countUntilClosed(socket: Socket): Promise<number> {
  return new Promise((resolve) => {
    let bytes = 0;
    socket.on('data', (piece: Buffer) => {
      bytes += piece.length;
    });
    socket.once('end', () => resolve(bytes)).once('close', () => resolve(bytes));
    // The end or a reset may have come before.
    if (socket.destroyed || socket.readableEnded) resolve(bytes);
    socket.resume();
  });
}

/** Age at which the table of connections is read again, in milliseconds: reading takes five. */
const FRESH_MS = 250;

/** States of a connection whose process has not closed it: established, and closed by the other side only. */
const HELD = new Set(['01', '08']);

let held: ReadonlySet<string> = new Set();
let readAt = Number.NEGATIVE_INFINITY;

/** Connections that some process of this machine holds, as `local port>remote port`. */
function heldConnections(): ReadonlySet<string> {
  if (performance.now() - readAt < FRESH_MS) return held;
  readAt = performance.now();
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1, -1);
  held = new Set(
    lines.flatMap((line) => {
      const [, local = '', remote = '', state = ''] = line.trim().split(/ +/);
      return HELD.has(state) ? [`${portOf(local)}>${portOf(remote)}`] : [];
    }),
  );
  return held;
}

function portOf(address: string): number {
  return Number.parseInt(address.slice(address.indexOf(':') + 1), 16);
}

/**
 * Waits until a server of this machine has closed its end of a connection, or we have closed ours. A client that does
 * not read sees no end: the kernel is asked.
 */
async function untilLetGo(socket: Socket): Promise<void> {
  const theirs = `${socket.remotePort}>${socket.localPort}`;
  do await sleep(FRESH_MS);
  while (!socket.destroyed && heldConnections().has(theirs));
}
