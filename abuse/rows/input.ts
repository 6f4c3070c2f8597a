import type fc from 'fast-check';
import type { Row } from '../../campaign/row.js';
import { check, type Trial } from '../../campaign/trial.js';
import { fuzz } from '../fuzz.js';
import { BODY_INPUTS } from '../inputs/bodies.js';
import { HEAD_INPUTS } from '../inputs/heads.js';
import { ADMIN_KEY, type Input } from '../inputs/input.js';
import { JSON_INPUTS } from '../inputs/json.js';
import { PATH_INPUTS } from '../inputs/paths.js';
import { HUGE_TEXTS, TEXT_INPUTS, TEXT_LIMITS } from '../inputs/texts.js';
import { TYPE_INPUTS } from '../inputs/types.js';

/** The fuzzed daemon's own bound on one request, on however slow a machine; an input that takes longer is a hang. */
const REQUEST_TIMEOUT_MS = 60_000;

interface Family {
  readonly number: number;
  readonly fault: string;
  readonly inputs: fc.Arbitrary<Input>;
  readonly short: number;
  readonly long: number;
}

const FAMILIES: readonly Family[] = [
  { number: 1, fault: 'bodies of bytes', inputs: BODY_INPUTS, short: 120, long: 28_000 },
  { number: 2, fault: 'JSON of every shape', inputs: JSON_INPUTS, short: 30, long: 12_000 },
  { number: 3, fault: 'odd texts', inputs: TEXT_INPUTS, short: 24, long: 8_000 },
  { number: 4, fault: 'a million characters', inputs: HUGE_TEXTS, short: 3, long: 200 },
  { number: 5, fault: 'media types, encodings, bombs', inputs: TYPE_INPUTS, short: 60, long: 12_000 },
  { number: 6, fault: 'every method, tricky paths', inputs: PATH_INPUTS, short: 200, long: 28_000 },
  { number: 7, fault: 'oddities below HTTP', inputs: HEAD_INPUTS, short: 200, long: 28_000 },
];

async function run(trial: Trial, { inputs, short, long }: Family): Promise<void> {
  const volume = await trial.sandbox.filledVolume();
  const daemon = await trial.sandbox.daemon({
    MODEL_CACHE_DIR: volume,
    MAX_TEXT_CHARS: String(TEXT_LIMITS.chars),
    MAX_BATCH: String(TEXT_LIMITS.batch),
    REQUEST_TIMEOUT_MS: String(REQUEST_TIMEOUT_MS),
    // Nobody is to be turned away here only because the machine is slow.
    MAX_QUEUE_MS: String(REQUEST_TIMEOUT_MS),
    ADMIN_KEYS: ADMIN_KEY,
    SERVE_MODEL: 'true',
  });
  await daemon.ready(60_000);
  const { tried, shortfalls } = await fuzz({
    daemon,
    volume,
    golden: trial.sandbox.golden,
    inputs,
    runs: trial.short ? short : long,
    lanes: trial.short ? 2 : 4,
    seed: trial.random.integer(0, 2 ** 30),
    deadlineMs: REQUEST_TIMEOUT_MS + 5_000,
    onSurvived: (survived) => trial.progress(survived),
  });
  trial.tally(tried, shortfalls);
  await trial.attempt('the daemon afterwards', async () => {
    check(daemon.child.exitCode === null && daemon.child.signalCode === null, 'it has ended');
    check((await daemon.get('/health')).status === 200, 'it is not ready');
    const grave = daemon.lines.filter(({ level }) => level >= 50);
    check(grave.length === 0, () => `it logged ${JSON.stringify(grave[0]).slice(0, 500)}`);
    check((await daemon.stop()).code === 0, 'it did not end with 0');
  });
}

export const INPUT: readonly Row[] = FAMILIES.map((family) => ({
  number: family.number,
  fault: family.fault,
  run: (trial) => run(trial, family),
}));
