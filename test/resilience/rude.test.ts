import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { eventually } from '../support/eventually.js';
import { sizeOf } from '../support/processes.js';
import { median, quantile } from '../support/stats.js';
import { has } from '../support/tools.js';
import { Wire } from '../support/wire.js';
import { askGolden, count, it, LONG, pidOf } from './box.js';
import { Crowd } from './crowd.js';
import { beRude, RUDENESS, type RudeLimits, SLACK_MS } from './rude.js';

// In the long form twice any of them is later than the verdict allows.
const LIMITS: RudeLimits = LONG
  ? { headersMs: 5_000, bodyMs: 3_000, idleMs: 5_000, sendMs: 6_000 }
  : { headersMs: 2_000, bodyMs: 500, idleMs: 2_000, sendMs: 1_000 };

/** Rounds of the long form. */
const ROUNDS = 6;

it.runIf(has('proc'))(
  'rude clients are closed in time, beside good ones that notice nothing',
  async ({ box }) => {
    const { daemon } = await box.serving({
      SERVE_MODEL: 'true',
      INFERENCE_WORKERS: String(availableParallelism()),
      HEADERS_TIMEOUT_MS: String(LIMITS.headersMs),
      BODY_TIMEOUT_MS: String(LIMITS.bodyMs),
      KEEP_ALIVE_MS: String(LIMITS.idleMs),
      SEND_TIMEOUT_MS: String(LIMITS.sendMs),
      // Good clients may be slowed on a slow machine, and not refused: how much is measured.
      MAX_QUEUE_MS: '30000',
    });
    const port = Number(new URL(daemon.url).port);
    const clients = count(2 * RUDENESS.length, 500);
    const crowd = await Crowd.start(box, 'last');
    const watch = await Crowd.start(box, 'first');
    const good = async (rate: number, seconds: number): Promise<number> => {
      const { accepted, refused, odd } = await watch.do('openLoop', daemon.url, rate, seconds, {
        golden: box.golden,
      });
      expect([...odd, ...refused]).toEqual([]);
      return quantile(accepted, 0.99);
    };
    const arriving = () => good(count(20, 200), 1.5);
    const calm = () => good(count(20, 40), count(1, 8));
    await calm();
    const before = sizeOf(pidOf(daemon));
    const p99: Record<'alone' | 'besidePolite' | 'besideRude' | 'besideHeld', number>[] = [];
    const memory: number[] = [];
    // The first round meets code that has not run yet; it is judged for all but latency and memory.
    for (let round = 0; round < count(1, ROUNDS); round += 1) {
      // What is compared belongs to the same minute.
      const alone = await calm();
      const [besidePolite] = await Promise.all([
        arriving(),
        crowd.do('bePoliteTogether', daemon.url, clients),
      ]);
      const [{ ends, ownLagMs }, [besideRude, besideHeld]] = await Promise.all([
        crowd.do('beRudeTogether', port, clients, LIMITS),
        (async () => [await arriving(), await calm()] as const)(),
      ]);
      p99.push({ alone, besidePolite, besideRude, besideHeld });
      expect(ends.filter(({ fault }) => fault !== undefined)).toEqual([]);
      const [last] = ends.toSorted((a, b) => (b.lateMs ?? 0) - (a.lateMs ?? 0));
      const late = last?.lateMs ?? 0;
      box.note(
        `closed at most ${Math.round(late)} ms after the limit (${last?.kind}); ` +
          `the clients themselves did not run for ${Math.round(ownLagMs)} ms at most`,
      );
      if (LONG) expect(late - ownLagMs).toBeLessThan(2 * SLACK_MS);
      memory.push(sizeOf(pidOf(daemon)).rssBytes / 2 ** 20);
    }
    await eventually(() =>
      expect(sizeOf(pidOf(daemon)).descriptors).toBeLessThanOrEqual(before.descriptors + 3),
    );
    if (!LONG) return;
    type Figure = keyof (typeof p99)[number];
    const usual = (of: Figure): string => median(p99.slice(1).map((round) => round[of])).toFixed(1);
    // By round: what else the machine does, slows both.
    const ratio = (of: Figure, to: Figure): number =>
      median(p99.slice(1).map((round) => round[of] / round[to]));
    const [held, arrival] = [ratio('besideHeld', 'alone'), ratio('besideRude', 'besidePolite')];
    box.note(
      `good p99 ${usual('alone')} ms alone, ${usual('besideHeld')} beside ${clients} rude clients (${held.toFixed(2)} ×); ` +
        `while these arrive ${usual('besideRude')}, while as many polite ones do ${usual('besidePolite')} (${arrival.toFixed(2)} ×)`,
    );
    expect(held).toBeLessThan(1.5);
    // Five hundred connections within a second take their time, however they behave: being rude gains nothing.
    expect(arrival).toBeLessThan(1.5);
    box.note(`memory after each round: ${memory.map(Math.round).join(', ')} MB`);
    // The collector may run before or after a look.
    expect(Math.min(...memory.slice(-2))).toBeLessThan(1.1 * Math.min(...memory.slice(1, 3)));
  },
);

it('more connections than MAX_CONNECTIONS: the rest is closed at once, open ones are served', async ({
  box,
}) => {
  const { daemon } = await box.serving({
    MAX_CONNECTIONS: '50',
    HEADERS_TIMEOUT_MS: String(LIMITS.headersMs),
  });
  const port = Number(new URL(daemon.url).port);
  const served = new Wire(daemon.url, { maxIdleMs: Number.POSITIVE_INFINITY });
  let answered = 0;
  let isFlooded = true;
  const ask = async (): Promise<void> => {
    await askGolden(served, box.golden[answered % box.golden.length]);
    answered += 1;
  };
  await ask();
  const asking = (async () => {
    for (; isFlooded; await sleep(50)) await ask();
  })();
  const [silent] = RUDENESS;
  if (!silent) throw new Error('no silent client');
  const closed = await Promise.all(
    Array.from({ length: 300 }, () => beRude(port, silent, LIMITS).catch(() => undefined)),
  );
  isFlooded = false;
  await asking;
  served.close();
  // Those beyond the limit are closed before any limit of time.
  const refused = closed.filter((late) => late === undefined || late < -LIMITS.headersMs / 2);
  box.note(`${refused.length} of 300 closed at once; the open connection got ${answered} answers meanwhile`);
  expect(refused).not.toEqual([]);
  await eventually(async () => expect((await daemon.get('/health')).status).toBe(200));
  expect(daemon.lines.map(({ msg }) => msg).join()).toMatch(/MAX_CONNECTIONS/);
});
