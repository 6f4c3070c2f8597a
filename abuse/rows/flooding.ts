import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from '../../bench/samples.js';
import type { Row } from '../../campaign/row.js';
import { check, type Trial } from '../../campaign/trial.js';
import type { Answers } from '../asker.js';
import { ClosedLoop, oneByOne } from '../closed-loop.js';
import { Crowd } from '../crowd.js';
import { openLoop } from '../open-loop.js';
import { BY_ADDRESS, BY_KEY, type Pair } from '../pair.js';

/** How long a queue one client may make, and how much of it another one may be made to wait. */
const QUEUE_MS = 1_000;
const MAX_SHARE = 0.25;
/** What the greedy one asks for, in multiples of what can be done. */
const FLOOD = 3;

/** What both were answered. */
interface Flooded {
  readonly many: Answers;
  readonly few: Answers;
}

/** Nobody is limited: whoever asks for too much is refused, and the others are not. */
async function flooding(trial: Trial, pair: Pair): Promise<void> {
  if (trial.lacks(...pair.tools)) return;
  const { many, few } = await (trial.short ? fullQueue(trial, pair) : longWait(trial, pair));
  await trial.attempt('the modest client gets every answer', async () =>
    check(
      few.accepted.length === few.sent,
      `${few.refused.length} of ${few.sent} were refused; ${few.odd[0] ?? ''}`,
    ),
  );
  await trial.attempt('the greedy one gets answers, and refusals beyond its queue', async () => {
    check(many.odd.length === 0, `${many.odd.length} other answers, such as ${many.odd[0]}`);
    check(many.accepted.length > 0, 'it got no answer');
    // A flood that had room says nothing of what becomes of the others where there is none.
    check(many.refused.length > 0, 'nothing was refused: that was no flood');
  });
}

/** Time decides who may wait. How long that is for the modest one is measured. */
async function longWait(trial: Trial, { greedy, modest, env }: Pair): Promise<Flooded> {
  const seconds = 10;
  const daemon = await trial.sandbox.daemon({
    MODEL_CACHE_DIR: await trial.sandbox.filledVolume(),
    INFERENCE_WORKERS: String(availableParallelism()),
    MAX_CONNECTIONS: '100000',
    MAX_QUEUE_MS: String(QUEUE_MS),
    REQUEST_TIMEOUT_MS: '60000',
    ...env,
  });
  await daemon.ready(60_000);
  const crowd = await Crowd.start(trial.sandbox);
  const capacity = await crowd.do('capacityOf', daemon.url, 16, seconds, greedy);
  const usual = quantile((await openLoop(daemon.url, 10, seconds, modest)).accepted, 0.99);
  const [many, few] = await Promise.all([
    crowd.do('openLoop', daemon.url, FLOOD * capacity, seconds, greedy),
    openLoop(daemon.url, 10, seconds, modest),
  ]);
  const slowest = quantile(few.accepted, 0.99);
  trial.note(
    `modest: ${few.accepted.length} of ${few.sent} answered, p99 ${usual.toFixed(0)} ms alone and ` +
      `${slowest.toFixed(0)} ms beside ${(FLOOD * 100).toFixed(0)} % of ${capacity.toFixed(0)}/s ` +
      `(it was itself late by ${quantile(few.late, 0.99).toFixed(0)} ms); greedy: ` +
      `${many.accepted.length} of ${many.sent} answered, ${many.refused.length} refused`,
  );
  await trial.attempt('the modest client does not wait for the greedy one', async () =>
    check(slowest <= MAX_SHARE * QUEUE_MS, `p99 ${slowest.toFixed(0)} ms`),
  );
  return { many, few };
}

/** Places in the queue of the short form. */
const PLACES = 8;
/** Greedy requests at a time: more than there are places in the queue and at the one worker. */
const GREEDY = 64;
const GREEDY_REST_MS = 50;
/** So many that one of them finds the queue full, if all of it is the greedy one's to fill. */
const MODEST = 20;

/** Places decide who may wait, and none is free: what becomes of whom does not depend on how fast the machine is. */
async function fullQueue(trial: Trial, { greedy, modest, env }: Pair): Promise<Flooded> {
  const daemon = await trial.sandbox.daemon({
    MODEL_CACHE_DIR: await trial.sandbox.filledVolume(),
    INFERENCE_WORKERS: '1',
    MAX_QUEUE: String(PLACES),
    MAX_QUEUE_MS: '600000',
    REQUEST_TIMEOUT_MS: '60000',
    ...env,
  });
  await daemon.ready(60_000);
  const flood = new ClosedLoop(daemon.url, { clients: GREEDY, as: greedy, restMs: GREEDY_REST_MS });
  for (const since = performance.now(); flood.answers.refused.length === 0; await sleep(5)) {
    if (performance.now() - since > 60_000) break;
  }
  const few = await oneByOne(daemon.url, MODEST, modest);
  const many = await flood.stop();
  trial.note(
    `${PLACES} places; modest: ${few.accepted.length} of ${few.sent} answered; ` +
      `greedy: ${many.accepted.length} of ${many.sent} answered, ${many.refused.length} refused`,
  );
  return { many, few };
}

export const FLOODING: readonly Row[] = [
  { number: 13, fault: 'one key floods, and nobody is limited', run: (trial) => flooding(trial, BY_KEY) },
  {
    number: 14,
    fault: 'one address floods, and nobody is limited',
    run: (trial) => flooding(trial, BY_ADDRESS),
  },
];
