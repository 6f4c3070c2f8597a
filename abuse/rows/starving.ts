import { availableParallelism } from 'node:os';
import { quantile } from '../../bench/samples.js';
import type { Row } from '../../campaign/row.js';
import { check, type Trial } from '../../campaign/trial.js';
import { Crowd } from '../crowd.js';
import { openLoop } from '../open-loop.js';
import { BY_ADDRESS, BY_KEY, type Pair } from '../pair.js';

/** How much each may ask, and asks; all that the modest one asks fits into one window, however slow the machine. */
const PACES = {
  short: { limit: { requests: 30, unit: 'day', seconds: 86_400 }, greedy: 120, modest: 10, seconds: 1 },
  long: { limit: { requests: 100, unit: 'second', seconds: 1 }, greedy: 400, modest: 10, seconds: 10 },
} as const;

/** Everybody is limited: whoever asks for more is refused, and the others are not. */
async function starving(trial: Trial, { greedy, modest, env, tools }: Pair): Promise<void> {
  if (trial.lacks(...tools)) return;
  const { limit, ...pace } = PACES[trial.short ? 'short' : 'long'];
  const daemon = await trial.sandbox.daemon({
    MODEL_CACHE_DIR: await trial.sandbox.filledVolume(),
    INFERENCE_WORKERS: String(availableParallelism()),
    MAX_CONNECTIONS: '100000',
    MAX_QUEUE_MS: '60000',
    REQUEST_TIMEOUT_MS: '60000',
    RATE_LIMIT: `${limit.requests}/${limit.unit}`,
    ...env,
  });
  await daemon.ready(60_000);
  const crowd = await Crowd.start(trial.sandbox);
  const usual = trial.short
    ? undefined
    : quantile((await openLoop(daemon.url, pace.modest, pace.seconds, modest)).accepted, 0.99);
  const started = performance.now();
  const [many, few] = await Promise.all([
    crowd.do('openLoop', daemon.url, pace.greedy, pace.seconds, greedy),
    openLoop(daemon.url, pace.modest, pace.seconds, modest),
  ]);
  const lasted = (performance.now() - started) / 1_000;
  const alone = usual === undefined ? '' : `${usual.toFixed(0)} ms alone and `;
  trial.note(
    `limit ${limit.requests}/${limit.unit}; modest: ${few.accepted.length} of ${few.sent} answered, ` +
      `p99 ${alone}${quantile(few.accepted, 0.99).toFixed(0)} ms beside the greedy one ` +
      `(it was itself late by ${quantile(few.late, 0.99).toFixed(0)} ms); ` +
      `greedy: ${many.accepted.length} of ${many.sent} answered, ${many.refused.length} refused`,
  );
  await trial.attempt('the modest client gets every answer', async () =>
    check(
      few.accepted.length === few.sent,
      `${few.sent - few.accepted.length} of ${few.sent} were refused; ${few.odd[0] ?? ''}`,
    ),
  );
  await trial.attempt('the greedy one gets what its limit allows, and refusals beyond it', async () => {
    check(many.odd.length === 0, `${many.odd.length} other answers, such as ${many.odd[0]}`);
    // A window begins with the first request, and another one when it is over.
    const windows = Math.floor(lasted / limit.seconds) + 1;
    const allowed = limit.requests * windows;
    check(many.accepted.length <= allowed, `${many.accepted.length} answered, ${allowed} allowed`);
    check(many.accepted.length >= limit.requests, `only ${many.accepted.length} were answered`);
  });
}

export const STARVING: readonly Row[] = [
  { number: 11, fault: 'one key takes all', run: (trial) => starving(trial, BY_KEY) },
  { number: 12, fault: 'one address takes all', run: (trial) => starving(trial, BY_ADDRESS) },
];
