import autocannon from 'autocannon';
import { quantile } from '../samples.js';
import { textOf } from './texts.js';

/** What a closed loop saw: `connections` clients, each asking again as soon as it is answered. */
export interface ClosedLoop {
  /** Texts per second. */
  readonly rate: number;
  /** Of a request, in milliseconds, as is p99. */
  readonly p50: number;
  readonly p99: number;
  /** Medians of what `Server-Timing` says, in milliseconds, by its names; empty unless asked for. */
  readonly timings: ReadonlyMap<string, number>;
  /** CPU time that this client itself took of the daemon's cores, in milliseconds per request. */
  readonly clientCpuMs: number;
}

/** Options of {@link closedLoop}. */
export interface ClosedLoopOptions {
  readonly connections: number;
  readonly seconds: number;
  /** Default: `/classify`. */
  readonly path?: string;
  /** Texts of one request; their field in the body is `texts` or `input`, else it is `text`. */
  readonly batch?: { readonly size: number; readonly field: 'texts' | 'input' };
  /** Whether to read `Server-Timing`, which costs the client's cores. */
  readonly timings?: boolean;
  /** Always the same text instead of ones that nobody has seen yet. */
  readonly repeated?: boolean;
}

let nextText = 0;

/** A text that no server of this run has seen yet. */
export function freshText(): string {
  nextText += 1;
  return textOf(nextText);
}

/** Asks a server until the time is over. @throws when it refuses a request or breaks a connection */
export async function closedLoop(url: string, options: ClosedLoopOptions): Promise<ClosedLoop> {
  const { connections, seconds, batch } = options;
  const timings = new Map<string, number[]>();
  const latencies: number[] = [];
  const cpu = process.cpuUsage();
  const began = performance.now();
  let last = began;
  const { non2xx, errors } = await autocannon({
    url: `${url}${options.path ?? '/classify'}`,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    connections,
    duration: seconds,
    timeout: 60,
    requests: [{ setupRequest: (request) => ({ ...request, body: JSON.stringify(bodyOf(options)) }) }],
    setupClient: (client) => {
      if (options.timings) {
        client.on('headers', ({ headers }) => noteTimings(headers as unknown as string[], timings));
      }
      client.on('response', (_status, _bytes, responseTime) => {
        latencies.push(responseTime);
        last = performance.now();
      });
    },
  });
  if (non2xx + errors > 0) throw new Error(`${url}: ${non2xx} refusals, ${errors} errors`);
  const { user, system } = process.cpuUsage(cpu);
  return {
    clientCpuMs: (user + system) / 1_000 / latencies.length,
    // Until the last answer: with long requests, what was under way at the end would count for nothing.
    rate: (latencies.length * (batch?.size ?? 1) * 1_000) / (last - began),
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    timings: new Map([...timings].map(([name, values]) => [name, quantile(values, 0.5)])),
  };
}

function bodyOf({ batch, repeated }: ClosedLoopOptions): Record<string, unknown> {
  if (!batch) return { text: repeated ? textOf(0) : freshText() };
  return { [batch.field]: Array.from({ length: batch.size }, freshText) };
}

/** @param headers names and values in turn */
function noteTimings(headers: readonly string[], into: Map<string, number[]>): void {
  const at = headers.findIndex((name) => name.toLowerCase() === 'server-timing');
  if (at < 0) return;
  for (const [, name = '', ms] of (headers[at + 1] ?? '').matchAll(/(\w+);dur=([\d.]+)/g)) {
    const known = into.get(name);
    if (known) known.push(Number(ms));
    else into.set(name, [Number(ms)]);
  }
}
