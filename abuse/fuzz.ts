import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import type { Golden } from '../campaign/load.js';
import { messageOf } from '../src/shared/errors.js';
import type { TestDaemon } from '../test/support/daemon-process.js';
import { type Input, JSON_TYPE, requestOf } from './inputs/input.js';
import { judge, type Secrets } from './judge.js';
import { type Answer, Wire } from './wire.js';

/** What {@link fuzz} is given. */
export interface FuzzOptions extends Secrets {
  readonly daemon: TestDaemon;
  readonly golden: readonly Golden[];
  readonly inputs: fc.Arbitrary<Input>;
  readonly runs: number;
  readonly seed: number;
  /** Properties side by side. */
  readonly lanes: number;
  /** In which every input has to be answered. */
  readonly deadlineMs: number;
  /** Told after every thousand inputs. */
  onSurvived(survived: number): void;
}

/**
 * Sends inputs and judges the answers; after each of them a good request has to get its golden answer. What is
 * not survived is made as small as it can be.
 * @returns how many were tried, and what fell short
 */
export async function fuzz(options: FuzzOptions): Promise<{ tried: number; shortfalls: string[] }> {
  let survived = 0;
  const count = (): void => {
    survived += 1;
    if (survived % 1_000 === 0) options.onSurvived(survived);
  };
  const lanes = await Promise.all(
    Array.from({ length: options.lanes }, (_, lane) => runLane(options, options.seed + lane, count)),
  );
  return {
    tried: lanes.reduce((sum, { tried }) => sum + tried, 0),
    shortfalls: lanes.flatMap(({ shortfalls }) => shortfalls),
  };
}

async function runLane(
  { daemon, golden, inputs, runs, lanes, deadlineMs, volume }: FuzzOptions,
  seed: number,
  survived: () => void,
): Promise<{ tried: number; shortfalls: string[] }> {
  const wire = new Wire(daemon.url);
  let round = seed;
  // What an input does to a daemon may make the smaller ones fail in another way.
  let first: string | undefined;
  const property = fc.asyncProperty(inputs, async (input) => {
    try {
      judge(input, await askAgain(wire, input, deadlineMs), { volume });
      round += 1;
      await askGolden(wire, golden[round % golden.length], deadlineMs);
    } catch (error) {
      first ??= describe(input, error);
      throw error;
    }
    survived();
  });
  try {
    const details = await fc.check(property, { seed, numRuns: Math.ceil(runs / lanes) });
    const [input] = details.counterexample ?? [];
    if (!input) return { tried: details.numRuns, shortfalls: [] };
    const smallest = describe(input, details.errorInstance);
    return { tried: details.numRuns, shortfalls: [`${smallest}; seed ${seed}; at first ${first}`] };
  } finally {
    wire.close();
  }
}

function describe({ what, bytes }: Input, error: unknown): string {
  const sent = JSON.stringify(bytes.toString('latin1').slice(0, 300));
  return `${what}: ${messageOf(error)} (sent ${sent})`;
}

/** How long an input is sent again to a daemon that says that it is busy with others, in milliseconds. */
const PATIENCE_MS = 60_000;

/** Sends an input; comes back, as a client should, when it is told that there is no room for it right now. */
async function askAgain(wire: Wire, input: Input, timeoutMs: number): Promise<Answer | undefined> {
  for (const since = performance.now(); ; ) {
    const answer = await wire.ask(input.bytes, {
      timeoutMs,
      finish: input.unfinished === true,
      alone: input.alone === true,
      head: input.head === true,
    });
    const seconds = Number(answer?.headers.get('retry-after'));
    if (answer?.status !== 503 || !(seconds >= 1)) return answer;
    if (performance.now() - since + seconds * 1_000 > PATIENCE_MS) return answer;
    await sleep(seconds * 1_000);
  }
}

/** @throws Error when a good request does not get the answer of an undisturbed daemon */
export async function askGolden(wire: Wire, golden: Golden | undefined, timeoutMs: number): Promise<void> {
  if (!golden) throw new Error('no golden answers');
  const { bytes } = requestOf({
    what: 'a good request',
    path: '/classify',
    headers: [JSON_TYPE],
    body: JSON.stringify({ text: golden.text }),
    statuses: [200],
  });
  const answer = await wire.ask(bytes, { timeoutMs });
  const text = answer?.body.toString('utf8') ?? '';
  if (answer?.status !== 200) throw new Error(`a good request afterwards got ${answer?.status} ${text}`);
  if (!isDeepStrictEqual(JSON.parse(text), golden.answer)) {
    throw new Error(`a good request afterwards got another answer: ${text.slice(0, 300)}`);
  }
}
