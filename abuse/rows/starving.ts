import { availableParallelism } from 'node:os';
import type { Row } from '../../campaign/row.js';
import { check, type Trial } from '../../campaign/trial.js';
import { quantile } from '../good-traffic.js';
import { type Client, capacityOf, openLoop } from '../open-loop.js';

/** Two clients that the daemon tells apart. */
interface Pair {
  readonly greedy: Client;
  readonly modest: Client;
  readonly env: Readonly<Record<string, string>>;
}

const KEYS = { greedy: 'abuse-campaign-greedy-key', modest: 'abuse-campaign-modest-key' } as const;
const BY_KEY: Pair = {
  greedy: { key: KEYS.greedy },
  modest: { key: KEYS.modest },
  env: { API_KEYS: Object.values(KEYS).join(',') },
};

const BY_ADDRESS: Pair = {
  // It says of each request that it comes from elsewhere, which nobody may believe it.
  greedy: { localAddress: '127.0.0.2', forged: true },
  modest: { localAddress: '127.0.0.3' },
  env: { TRUST_PROXY: 'none' },
};

/** How much each may ask, and asks; all that the modest one asks fits into one window, however slow the machine. */
const PACES = {
  short: { limit: { requests: 30, unit: 'day', seconds: 86_400 }, greedy: 120, modest: 10, seconds: 1 },
  long: { limit: { requests: 100, unit: 'second', seconds: 1 }, greedy: 400, modest: 10, seconds: 10 },
} as const;

async function starving(trial: Trial, { greedy, modest, env }: Pair): Promise<void> {
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
  const usual = trial.short
    ? undefined
    : quantile((await openLoop(daemon.url, pace.modest, pace.seconds, modest)).accepted, 0.99);
  const started = performance.now();
  const [many, few] = await Promise.all([
    openLoop(daemon.url, pace.greedy, pace.seconds, greedy),
    openLoop(daemon.url, pace.modest, pace.seconds, modest),
  ]);
  const lasted = (performance.now() - started) / 1_000;
  const alone = usual === undefined ? '' : `${usual.toFixed(0)} ms alone and `;
  trial.note(
    `limit ${limit.requests}/${limit.unit}; modest: ${few.accepted.length} of ${few.sent} answered, ` +
      `p99 ${alone}${quantile(few.accepted, 0.99).toFixed(0)} ms beside the greedy one; ` +
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

/** How long a queue one client may make, and how much of it another one may be made to wait. */
const QUEUE_MS = 1_000;
const MAX_SHARE = 0.25;
/** What the greedy one asks for, in multiples of what can be done. */
const FLOOD = 3;

/** Nobody is limited: whoever asks for too much is refused, and the others are not. */
async function flooding(trial: Trial, { greedy, modest, env }: Pair): Promise<void> {
  const seconds = trial.short ? 1 : 10;
  const daemon = await trial.sandbox.daemon({
    MODEL_CACHE_DIR: await trial.sandbox.filledVolume(),
    INFERENCE_WORKERS: String(availableParallelism()),
    MAX_CONNECTIONS: '100000',
    MAX_QUEUE_MS: String(QUEUE_MS),
    REQUEST_TIMEOUT_MS: '60000',
    ...env,
  });
  await daemon.ready(60_000);
  const capacity = await capacityOf(daemon.url, 16, seconds, greedy);
  const usual = quantile((await openLoop(daemon.url, 10, seconds, modest)).accepted, 0.99);
  const [many, few] = await Promise.all([
    openLoop(daemon.url, FLOOD * capacity, seconds, greedy),
    openLoop(daemon.url, 10, seconds, modest),
  ]);
  const slowest = quantile(few.accepted, 0.99);
  trial.note(
    `modest: ${few.accepted.length} of ${few.sent} answered, p99 ${usual.toFixed(0)} ms alone and ` +
      `${slowest.toFixed(0)} ms beside ${(FLOOD * 100).toFixed(0)} % of ${capacity.toFixed(0)}/s; greedy: ` +
      `${many.accepted.length} of ${many.sent} answered, ${many.refused.length} refused`,
  );
  await trial.attempt('the modest client gets every answer, the greedy one answers or refusals', async () => {
    check(few.accepted.length === few.sent, `${few.sent - few.accepted.length} refused; ${few.odd[0] ?? ''}`);
    check(many.odd.length === 0, `${many.odd.length} other answers, such as ${many.odd[0]}`);
  });
  if (trial.short) return;
  await trial.attempt('the modest client does not wait for the greedy one', async () =>
    check(slowest <= MAX_SHARE * QUEUE_MS, `p99 ${slowest.toFixed(0)} ms`),
  );
}

export const STARVING: readonly Row[] = [
  { number: 11, fault: 'one key takes all', run: (trial) => starving(trial, BY_KEY) },
  { number: 12, fault: 'one address takes all', run: (trial) => starving(trial, BY_ADDRESS) },
  { number: 13, fault: 'one key floods, and nobody is limited', run: (trial) => flooding(trial, BY_KEY) },
  {
    number: 14,
    fault: 'one address floods, and nobody is limited',
    run: (trial) => flooding(trial, BY_ADDRESS),
  },
];
