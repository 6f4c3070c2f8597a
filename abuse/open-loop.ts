import { setTimeout as sleep } from 'node:timers/promises';
import { type Answers, Asker, type Client } from './asker.js';

/** What came of an open loop. */
export interface OpenLoop extends Answers {
  /** Answered with 200 within the load's time, each second. */
  readonly goodput: number;
  /**
   * Of `accepted` and `refused`, what was answered {@link SETTLE_MS} after the first refusal or later; all of it where
   * nothing was refused.
   */
  readonly settled: Pick<Answers, 'accepted' | 'refused'>;
  /** How late this client itself was in sending, in milliseconds: all latencies include it. */
  readonly late: readonly number[];
}

/**
 * A burst may make a queue of `MAX_QUEUE_MS`, a second unless told otherwise: an overload takes this long from its
 * first refusal until no answer comes from that queue any more.
 */
const SETTLE_MS = 2_000;

/**
 * Sends requests at a rate whatever becomes of them, as a crowd does that does not know of each other. A connection
 * is opened whenever none is free.
 */
export async function openLoop(
  url: string,
  perSecond: number,
  seconds: number,
  client: Client = {},
): Promise<OpenLoop> {
  const asker = new Asker(url, client);
  const late: number[] = [];
  const under = new Set<Promise<void>>();
  const started = performance.now();
  const total = Math.round(perSecond * seconds);
  let timely: number | undefined;
  let settlesAt = Number.POSITIVE_INFINITY;
  let before: { readonly accepted: number; readonly refused: number } | undefined;
  const timer = setTimeout(() => {
    timely = asker.accepted.length;
  }, seconds * 1_000);
  while (asker.sent < total) {
    const wanted = Math.min(total, Math.ceil(((performance.now() - started) / 1_000) * perSecond));
    while (asker.sent < wanted) {
      const due = started + (asker.sent / perSecond) * 1_000;
      late.push(performance.now() - due);
      const one = asker.ask(due).finally(() => under.delete(one));
      under.add(one);
    }
    await sleep(2);
    const now = performance.now();
    if (settlesAt === Number.POSITIVE_INFINITY && asker.refused.length > 0) settlesAt = now + SETTLE_MS;
    if (now >= settlesAt) before ??= { accepted: asker.accepted.length, refused: asker.refused.length };
  }
  await Promise.all(under);
  clearTimeout(timer);
  const answers = asker.end();
  const { accepted, refused } = answers;
  const skipped = before ?? { accepted: refused.length > 0 ? accepted.length : 0, refused: refused.length };
  return {
    ...answers,
    settled: { accepted: accepted.slice(skipped.accepted), refused: refused.slice(skipped.refused) },
    goodput: (timely ?? accepted.length) / seconds,
    late,
  };
}
