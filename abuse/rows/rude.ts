import { availableParallelism, constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from '../../bench/samples.js';
import type { Row } from '../../campaign/row.js';
import { pidOf } from '../../campaign/sandbox.js';
import { check, type Trial } from '../../campaign/trial.js';
import type { TestDaemon } from '../../test/support/daemon-process.js';
import { Crowd } from '../crowd.js';
import { askGolden } from '../fuzz.js';
import { type ProcessSize, sizeOf } from '../process-size.js';
import { beRude, RUDENESS, type RudeLimits, SLACK_MS } from '../rude-clients.js';
import { Wire } from '../wire.js';

const LIMITS: Readonly<Record<'short' | 'long', RudeLimits>> = {
  short: { headersMs: 2_000, bodyMs: 500, idleMs: 2_000, sendMs: 1_000 },
  long: { headersMs: 5_000, bodyMs: 3_000, idleMs: 5_000, sendMs: 3_000 },
};
const GOOD_PER_SECOND = 40;
/** Good p99 beside rude clients, as a multiple of what it is without them. */
const MAX_SLOWER = 1.5;
/** Memory after the last round of rude clients, as a multiple of what it was after the one before. */
const MAX_MEMORY = 1.1;
/** The first one meets code that has not run yet; it is told, and judged for all but latency. */
const ROUNDS = 3;

function daemonOf(trial: Trial, volume: string, limits: RudeLimits): Promise<TestDaemon> {
  return trial.sandbox.daemon({
    MODEL_CACHE_DIR: volume,
    SERVE_MODEL: 'true',
    INFERENCE_WORKERS: String(availableParallelism()),
    HEADERS_TIMEOUT_MS: String(limits.headersMs),
    BODY_TIMEOUT_MS: String(limits.bodyMs),
    KEEP_ALIVE_MS: String(limits.idleMs),
    SEND_TIMEOUT_MS: String(limits.sendMs),
    // Good clients are slowed where the machine is slow, and not turned away: how much is what is measured.
    MAX_QUEUE_MS: '30000',
  });
}

async function rudeClients(trial: Trial): Promise<void> {
  // The kernel says how large the daemon is, and who still holds a connection.
  if (trial.lacks('proc')) return;
  const { short } = trial;
  const limits = short ? LIMITS.short : LIMITS.long;
  const clients = short ? 2 * RUDENESS.length : 500;
  const daemon = await daemonOf(trial, await trial.sandbox.filledVolume(), limits);
  await daemon.ready(60_000);
  const port = Number(new URL(daemon.url).port);
  // What it costs to be rude is the clients' own affair, who share these cores with the daemon only here.
  const crowd = await Crowd.start(trial.sandbox, constants.priority.PRIORITY_LOW);
  const good = await Crowd.start(trial.sandbox);
  await good.do('beginGood', daemon.url, trial.sandbox.golden, short ? 20 : GOOD_PER_SECOND);
  await sleep(short ? 300 : 2_000);
  await good.do('takeGood');
  const baseline: number[] = [];
  const cold: number[] = [];
  const beside: number[] = [];
  const late = new Map<string, number[]>();
  const sizes: ProcessSize[] = [];
  let before = sizeOf(pidOf(daemon));
  for (let round = 0; round < (short ? 1 : ROUNDS); round += 1) {
    // The baseline belongs to the same minute as what is compared with it.
    await sleep(short ? 200 : 10_000);
    baseline.push(...(await good.do('takeGood')));
    before = round === 0 ? sizeOf(pidOf(daemon)) : before;
    const ends = await crowd.do('beRudeTogether', port, clients, limits);
    (round === 0 ? cold : beside).push(...(await good.do('takeGood')));
    for (const { kind, lateMs, fault } of ends) {
      await trial.attempt(kind, async () => check(fault === undefined, fault ?? ''));
      if (lateMs !== undefined) late.set(kind, [...(late.get(kind) ?? []), lateMs]);
    }
    await sleep(1_000);
    sizes.push(sizeOf(pidOf(daemon)));
  }
  const { faults, late: lateGood } = await good.do('endGood');
  await sleep(1_000);
  const { descriptors } = sizeOf(pidOf(daemon));
  for (const [kind, ms] of late) {
    const worst = Math.max(...ms);
    trial.note(`${kind}: closed at most ${Math.round(worst)} ms after its limit`);
    if (short) continue;
    await trial.attempt(`${kind}: closed in time`, async () =>
      check(worst < 2 * SLACK_MS, `${Math.round(worst)} ms late`),
    );
  }
  trial.note(`descriptors ${before.descriptors} before, ${descriptors} after`);
  await trial.attempt('descriptors are given back', async () =>
    check(descriptors <= before.descriptors + 3, `${before.descriptors} → ${descriptors}`),
  );
  await trial.attempt('good clients get their answers', async () =>
    trial.requests({
      sent: baseline.length + cold.length + beside.length,
      failed: faults.length,
      faults,
    }),
  );
  if (short) return;
  const [usual, slowed] = [quantile(baseline, 0.99), quantile(beside, 0.99)];
  trial.note(
    `good p99 ${usual.toFixed(1)} ms alone, ${slowed.toFixed(1)} ms beside ${clients} rude clients, ` +
      `${quantile(cold, 0.99).toFixed(1)} ms beside the first of them ` +
      `(they were themselves late by ${quantile(lateGood, 0.99).toFixed(1)} ms)`,
  );
  await trial.attempt('good clients are not slowed', async () =>
    check(slowed <= MAX_SLOWER * usual, `p99 ${usual.toFixed(1)} → ${slowed.toFixed(1)} ms`),
  );
  const [first, second] = sizes.slice(-2).map(({ rssBytes }) => rssBytes / 2 ** 20);
  if (first === undefined || second === undefined) return;
  trial.note(
    `memory ${Math.round(before.rssBytes / 2 ** 20)} MB before, ${Math.round(first)} and ${Math.round(second)} MB after the last two rounds`,
  );
  await trial.attempt('memory does not grow', async () =>
    check(second <= MAX_MEMORY * first, `${Math.round(first)} → ${Math.round(second)} MB`),
  );
}

/** More connections than may be open: who is served goes on, and there is room again when the others have left. */
async function tooMany(trial: Trial): Promise<void> {
  const daemon = await trial.sandbox.daemon({
    MODEL_CACHE_DIR: await trial.sandbox.filledVolume(),
    MAX_CONNECTIONS: '50',
    HEADERS_TIMEOUT_MS: String(LIMITS.short.headersMs),
  });
  await daemon.ready(60_000);
  const port = Number(new URL(daemon.url).port);
  await trial.attempt('300 silent connections where 50 may be open', async () => {
    const served = new Wire(daemon.url, { maxIdleMs: Number.POSITIVE_INFINITY });
    let answered = 0;
    let flooded = true;
    const ask = async (): Promise<void> => {
      await askGolden(served, trial.sandbox.golden[answered % trial.sandbox.golden.length], 60_000);
      answered += 1;
    };
    await ask();
    const asking = (async () => {
      for (; flooded; await sleep(50)) await ask();
    })();
    const silent = RUDENESS[0];
    check(silent !== undefined, 'nobody is silent');
    const limits = LIMITS.short;
    const closed = await Promise.all(
      Array.from({ length: 300 }, () => beRude(port, silent, limits).catch(() => undefined)),
    );
    flooded = false;
    await asking;
    served.close();
    // Those beyond the limit are closed before any limit of time.
    const refused = closed.filter((lateMs) => lateMs === undefined || lateMs < -limits.headersMs / 2).length;
    trial.note(
      `${refused} of 300 closed at once; the client that was there got ${answered} answers meanwhile`,
    );
    check(refused > 0, 'all were let in');
    check((await daemon.get('/health')).status === 200, 'no room afterwards');
    check(
      daemon.lines.some(({ msg }) => /MAX_CONNECTIONS/.test(msg)),
      'nothing was logged',
    );
  });
}

export const RUDE: readonly Row[] = [
  { number: 8, fault: 'slow and rude clients beside good ones', run: rudeClients },
  { number: 9, fault: 'more connections than may be open', run: tooMany },
];
