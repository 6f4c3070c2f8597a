import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { expect } from 'vitest';
import { systemOneError } from '../../src/api/decisions.js';
import type { ProblemBody } from '../../src/api/schema.js';
import { messageOf } from '../../src/shared/errors.js';
import { type Answer, Wire } from '../support/wire.js';
import {
  BYTE_INPUTS,
  HUGE_TEXTS,
  JSON_INPUTS,
  TEXT_INPUTS,
  TEXT_LIMITS,
  TYPE_INPUTS,
} from './body-inputs.js';
import { askGolden, type Box, count, it } from './box.js';
import { ADMIN_KEY, type Input } from './input.js';
import { HEAD_INPUTS, PATH_INPUTS } from './wire-inputs.js';

/** The daemon's own bound on a request, on however slow a machine; an input that takes longer hangs. */
const REQUEST_TIMEOUT_MS = 60_000;
/** A refusal names what is wrong; it does not send the request back. */
const MAX_REFUSAL_BYTES = 65_536;

it.for([
  ['bodies of bytes', BYTE_INPUTS, 120, 28_000],
  ['JSON of every shape', JSON_INPUTS, 30, 12_000],
  ['unusual texts', TEXT_INPUTS, 24, 8_000],
  ['a million characters', HUGE_TEXTS, 3, 200],
  ['media types, content codings, bombs', TYPE_INPUTS, 60, 12_000],
  ['every method, unusual paths', PATH_INPUTS, 200, 28_000],
  ['bytes below HTTP', HEAD_INPUTS, 200, 28_000],
] as const)(
  '%s: each gets a right answer, and a good request after it the golden one',
  async ([, inputs, short, long], { box }) => {
    const { daemon, volume } = await box.serving({
      MAX_TEXT_CHARS: String(TEXT_LIMITS.chars),
      MAX_BATCH: String(TEXT_LIMITS.batch),
      REQUEST_TIMEOUT_MS: String(REQUEST_TIMEOUT_MS),
      // A slow machine is no reason for a refusal.
      MAX_QUEUE_MS: String(REQUEST_TIMEOUT_MS),
      ADMIN_KEYS: ADMIN_KEY,
      SERVE_MODEL: 'true',
    });
    const lanes = count(2, 4);
    const numRuns = Math.ceil(count(short, long) / lanes);
    const since = performance.now();
    const seeds = Array.from({ length: lanes }, () => box.random.integer(0, 2 ** 30));
    await Promise.all(seeds.map((seed) => fuzz(box, { url: daemon.url, volume, inputs, numRuns, seed })));
    box.note(`${lanes * numRuns} inputs in ${Math.round((performance.now() - since) / 1_000)} s`);
    expect((await daemon.get('/health')).status).toBe(200);
    expect(daemon.lines.filter(({ level }) => level >= 50).slice(0, 1)).toEqual([]);
    expect(await daemon.stop()).toMatchObject({ code: 0 });
  },
);

interface Fuzzing {
  readonly url: string;
  readonly volume: string;
  readonly inputs: fc.Arbitrary<Input>;
  readonly numRuns: number;
  readonly seed: number;
}

/** Sends inputs and judges the answers; what fails is made as small as possible. */
async function fuzz(box: Box, { url, volume, inputs, numRuns, seed }: Fuzzing): Promise<void> {
  const wire = new Wire(url);
  let round = seed;
  const property = fc.asyncProperty(inputs, async (input) => {
    try {
      judge(input, await ask(wire, input), [
        volume,
        process.cwd(),
        ADMIN_KEY,
        'node_modules',
        'file:///',
        '\\n    at ',
      ]);
      round += 1;
      await askGolden(wire, box.golden[round % box.golden.length]);
    } catch (error) {
      const sent = JSON.stringify(input.bytes.toString('latin1').slice(0, 300));
      throw new Error(`${input.what}: ${messageOf(error)} (sent ${sent})`, { cause: error });
    }
  });
  try {
    await fc.assert(property, { seed, numRuns });
  } finally {
    wire.close();
  }
}

/** Sends an input, again where the daemon says that it is busy, as a client should. */
async function ask(wire: Wire, { bytes, unfinished, alone, head }: Input): Promise<Answer | undefined> {
  const options = {
    timeoutMs: REQUEST_TIMEOUT_MS + 5_000,
    finish: !!unfinished,
    alone: !!alone,
    head: !!head,
  };
  for (const since = performance.now(); ; ) {
    const answer = await wire.ask(bytes, options);
    const seconds = Number(answer?.headers.get('retry-after'));
    if (answer?.status !== 503 || !(seconds >= 1)) return answer;
    if (performance.now() - since + seconds * 1_000 > REQUEST_TIMEOUT_MS) return answer;
    await sleep(seconds * 1_000);
  }
}

/** @throws Error that says in which way the answer to an input is wrong */
function judge(input: Input, answer: Answer | undefined, secrets: readonly string[]): void {
  if (!answer) {
    if (input.mayBeSilent) return;
    throw new Error('closed without an answer');
  }
  const { status, headers, body } = answer;
  const text = body.toString('utf8');
  if (!input.statuses.includes(status)) throw new Error(`${status} ${text.slice(0, 300)}`);
  if (headers.get('x-request-id') === undefined) throw new Error(`${status} without X-Request-Id`);
  if (input.head || status < 400) return;
  if (body.length > MAX_REFUSAL_BYTES) throw new Error(`a refusal of ${body.length} bytes`);
  if (headers.get('content-type')?.startsWith('application/problem+json')) {
    const problem = JSON.parse(text) as ProblemBody;
    expect(problem).toMatchObject({ status, instance: headers.get('x-request-id') });
    expect(problem.code).toMatch(/^[a-z_]+$/);
    expect([problem.title, problem.detail]).not.toContain('');
  } else {
    judgeForeign(status, JSON.parse(text));
  }
  for (const secret of secrets) expect(text).not.toContain(secret);
}

/** Judges an error in the format of another API, on the paths of its clients. */
function judgeForeign(status: number, body: object): void {
  if ('detail' in body) {
    const { detail } = systemOneError.parse(body);
    if (!Array.isArray(detail)) {
      expect(detail.error_type).toMatch(/^[a-z_]+$/);
      expect(detail.message).not.toBe('');
      return;
    }
    expect(status).toBe(422);
    expect(detail).not.toEqual([]);
    for (const { loc, msg, type } of detail) {
      expect(loc[0]).toBe('body');
      expect(msg).not.toBe('');
      expect(type).toMatch(/^[a-z_]+$/);
    }
    return;
  }
  // OpenAI's API and Text Embeddings Inference.
  const { error } = body as { error?: string | { message?: string } };
  expect(typeof (typeof error === 'object' ? error.message : error)).toBe('string');
}
