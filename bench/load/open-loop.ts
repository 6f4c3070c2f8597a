import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from '../samples.js';

/** What an open loop saw, which asks at a fixed rate however slowly it is answered. */
export interface OpenLoop {
  /** Requests that were answered with 200, per second. */
  readonly goodput: number;
  /** From when a request was due to its answer, in milliseconds; `NaN` when none was accepted. */
  readonly acceptedP50: number;
  readonly acceptedP99: number;
  /** The same of those that were due {@link SETTLE_MS} after the first refusal or later; of all, if none was refused. */
  readonly settledP99: number;
  /** Refused requests by status; `0` for broken connections. */
  readonly refusals: ReadonlyMap<number, number>;
  /** Of those, likewise; `NaN` when none was refused. */
  readonly refusedP99: number;
  /** How late this client itself was in sending: all latencies include it. */
  readonly lateP99: number;
}

/**
 * A burst may make a queue, of a second unless told otherwise, so that an overload takes this long from its first
 * refusal until no answer waits in that queue any more.
 */
const SETTLE_MS = 1_500;

/** One request; without a body it is a GET. */
export interface Ask {
  readonly url: string;
  readonly body?: () => string;
}

/**
 * Sends `rate` requests per second, evenly, and waits for all answers. Latency counts from the moment at which a
 * request was due, so that a stall is seen by every request that fell into it.
 *
 * autocannon is not used for this: it sends each second's requests in one burst, at the beginning of the second.
 */
export async function openLoop(ask: Ask, rate: number, seconds: number): Promise<OpenLoop> {
  const agent = new Agent({ keepAlive: true, maxSockets: 4_096 });
  const accepted: { readonly due: number; readonly ms: number }[] = [];
  const refused: number[] = [];
  const late: number[] = [];
  const refusals = new Map<number, number>();
  let firstRefusal = Number.POSITIVE_INFINITY;
  const pending: Promise<void>[] = [];
  const began = performance.now();
  const count = Math.round(rate * seconds);
  for (let n = 0; n < count; ) {
    const now = performance.now();
    for (; n < count && began + (n * 1_000) / rate <= now; n += 1) {
      const due = began + (n * 1_000) / rate;
      late.push(performance.now() - due);
      pending.push(
        send(ask, agent).then((status) => {
          const ms = performance.now() - due;
          if (status === 200) accepted.push({ due, ms });
          else {
            firstRefusal = Math.min(firstRefusal, due);
            refused.push(ms);
            refusals.set(status, (refusals.get(status) ?? 0) + 1);
          }
        }),
      );
    }
    await sleep(1);
  }
  await Promise.all(pending);
  agent.destroy();
  const timesSince = (since: number): number[] =>
    accepted.filter(({ due }) => due >= since).map(({ ms }) => ms);
  return {
    goodput: (accepted.length * 1_000) / (performance.now() - began),
    acceptedP50: quantile(timesSince(began), 0.5),
    acceptedP99: quantile(timesSince(began), 0.99),
    settledP99: quantile(timesSince(Number.isFinite(firstRefusal) ? firstRefusal + SETTLE_MS : began), 0.99),
    refusals,
    refusedP99: quantile(refused, 0.99),
    lateP99: quantile(late, 0.99),
  };
}

function send({ url, body }: Ask, agent: Agent): Promise<number> {
  return new Promise((resolve) => {
    const method = body ? 'POST' : 'GET';
    const outgoing = request(url, { agent, method, headers: { 'content-type': 'application/json' } });
    outgoing.once('response', (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode ?? 0));
      response.once('error', () => resolve(0));
    });
    outgoing.once('error', () => resolve(0));
    outgoing.end(body?.());
  });
}
