import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { eventually } from '../support/eventually.js';
import { openLoop } from '../support/load.js';
import { sizeOf } from '../support/processes.js';
import { quantile } from '../support/stats.js';
import { has } from '../support/tools.js';
import { Wire } from '../support/wire.js';
import { askGolden, count, it, LONG, pidOf } from './box.js';
import { Crowd } from './crowd.js';
import { beRude, RUDENESS, type RudeLimits, SLACK_MS } from './rude.js';

const LIMITS: RudeLimits = LONG
  ? { headersMs: 5_000, bodyMs: 3_000, idleMs: 5_000, sendMs: 3_000 }
  : { headersMs: 2_000, bodyMs: 500, idleMs: 2_000, sendMs: 1_000 };

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
    const good = (seconds: number) => openLoop(daemon.url, count(20, 40), seconds, { golden: box.golden });
    await good(count(1, 2));
    const before = sizeOf(pidOf(daemon));
    const alone: number[] = [];
    const beside: number[] = [];
    const memory: number[] = [];
    // The first round meets code that has not run yet; it is judged for all but latency and memory.
    for (let round = 0; round < count(1, 3); round += 1) {
      // The baseline belongs to the same minute as what is compared with it.
      const calm = await good(count(1, 10));
      const [{ ends, ownLagMs }, answers] = await Promise.all([
        crowd.do('beRudeTogether', port, clients, LIMITS),
        good(count(4, 12)),
      ]);
      alone.push(...calm.accepted);
      if (round > 0) beside.push(...answers.accepted);
      expect([...calm.odd, ...answers.odd, ...calm.refused, ...answers.refused]).toEqual([]);
      expect(ends.filter(({ fault }) => fault !== undefined)).toEqual([]);
      const [last] = ends.toSorted((a, b) => (b.lateMs ?? 0) - (a.lateMs ?? 0));
      const late = last?.lateMs ?? 0;
      box.note(
        `closed at most ${Math.round(late)} ms after the limit (${last?.kind}); ` +
          `the clients themselves did not run for ${Math.round(ownLagMs)} ms at most`,
      );
      if (LONG) expect(late - ownLagMs).toBeLessThan(2 * SLACK_MS);
      await sleep(count(0, 1_000));
      memory.push(sizeOf(pidOf(daemon)).rssBytes / 2 ** 20);
    }
    await eventually(() =>
      expect(sizeOf(pidOf(daemon)).descriptors).toBeLessThanOrEqual(before.descriptors + 3),
    );
    if (!LONG) return;
    const [usual, slowed] = [quantile(alone, 0.99), quantile(beside, 0.99)];
    box.note(`good p99 ${usual.toFixed(1)} ms alone, ${slowed.toFixed(1)} ms beside ${clients} rude clients`);
    expect(slowed).toBeLessThan(1.5 * usual);
    box.note(`memory after each round: ${memory.map(Math.round).join(', ')} MB`);
    expect(memory[2]).toBeLessThan(1.1 * (memory[1] ?? 0));
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
