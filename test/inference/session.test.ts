import { readdirSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { createSession, type Session } from '../../src/inference/session.js';
import { createTokenizer } from '../../src/inference/tokenizer.js';
import { bundledModel, cosine, fp32Model, goldenCases } from '../support/model.js';

const { spec, model } = bundledModel;
const tokenizer = createTokenizer(bundledModel.tokenizer, bundledModel.tokenizerConfig, spec);
const ids = (text: string) => tokenizer.encode(text).ids;

async function embedOne(session: Session, row: readonly number[]): Promise<Float32Array> {
  const [vector] = await session.embed([row]);
  if (!vector) throw new Error('no vector');
  return vector;
}

function lengthOf(vector: Float32Array): number {
  return Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
}

describe('q8', () => {
  let session: Session;
  beforeAll(async () => {
    session = await createSession(model, spec);
  });

  it.each(goldenCases.map((golden) => [golden.text.slice(0, 40), golden] as const))(
    'embeds %j as the reference does',
    async (_, golden) => {
      const vector = await embedOne(session, golden.input_ids);
      expect(vector).toHaveLength(384);
      expect(lengthOf(vector)).toBeCloseTo(1, 6);
      expect(cosine(vector, golden.q8)).toBeGreaterThanOrEqual(0.98);
    },
  );

  it("reproduces the model card's example, two sentences in one batch, to five digits", async () => {
    const vectors = await session.embed(
      [ids('This is an example sentence'), ids('Each sentence is converted')],
      0,
    );
    const expected = [
      [0.04592696577310562, 0.07328180968761444, 0.05400655046105385],
      [0.08188057690858841, 0.10760223120450974, -0.013241755776107311],
    ];
    for (const [index, values] of expected.entries()) {
      for (const [place, value] of values.entries()) expect(vectors[index]?.[place]).toBeCloseTo(value, 5);
    }
  });

  it('keeps its vectors when later calls overwrite the input arrays', async () => {
    const first = await embedOne(session, ids('hello there'));
    const copy = first.slice();
    await embedOne(session, ids('something else'));
    expect(first).toEqual(copy);
  });
});

describe('threads', () => {
  const threads = () => readdirSync('/proc/self/task').length;

  it.skipIf(process.platform !== 'linux')('are as many as asked for, by default one', async () => {
    const before = threads();
    await createSession(model, spec);
    const alone = threads();
    expect(alone).toBe(before);
    await createSession(model, spec, { threads: 4 });
    expect(threads() - alone).toBe(3);
    expect('intraOpNumThreads' in Number.prototype).toBe(false);
  });
});

describe('the embedding spec', () => {
  it('leaves vectors unscaled without normalize', async () => {
    const plain = await createSession(model, { ...spec, normalize: false });
    const vector = await embedOne(plain, ids('hello there'));
    expect(Math.abs(lengthOf(vector) - 1)).toBeGreaterThan(0.1);
    const scaled = await embedOne(await createSession(model, spec), ids('hello there'));
    expect(cosine(vector, scaled)).toBeCloseTo(1, 6);
  });

  it('takes the first token with cls', async () => {
    const session = await createSession(model, { ...spec, pooling: 'cls' });
    const mean = await embedOne(await createSession(model, spec), ids('hello there'));
    expect(cosine(await embedOne(session, ids('hello there')), mean)).toBeLessThan(0.99);
  });

  it('refuses a model of another dimension', async () => {
    const session = await createSession(model, { ...spec, dimension: 768 });
    await expect(session.embed([[101, 102]])).rejects.toMatchObject({
      code: 'model_unloadable',
      message: expect.stringContaining('[1,2,384], not float32 [1,2,768]'),
    });
  });
});

const fp32 = fp32Model();
describe.skipIf(fp32 === undefined)(
  fp32 ? 'fp32' : 'fp32 — SKIPPED: no model.onnx; set AI_ROUTER_FP32_MODEL to run these',
  () => {
    it('embeds all golden texts as the reference does, in a padded batch too', async () => {
      const session = await createSession(fp32 ?? new Uint8Array(), { ...spec, batch_sensitive: false });
      const alone: Float32Array[] = [];
      for (const golden of goldenCases) {
        const vector = await embedOne(session, golden.input_ids);
        expect(cosine(vector, golden.fp32)).toBeGreaterThanOrEqual(0.9999);
        alone.push(vector);
      }
      const short = goldenCases.flatMap(({ input_ids }, index) => (input_ids.length < 30 ? [index] : []));
      const batch = await session.embed(short.map((index) => goldenCases[index]?.input_ids ?? []));
      for (const [place, index] of short.entries()) {
        expect(cosine(batch[place] ?? [], alone[index] ?? [])).toBeGreaterThan(0.999999);
      }
    });
  },
);
if (fp32 === undefined) {
  process.stderr.write('SKIPPED: the fp32 tests, for want of a model.onnx (AI_ROUTER_FP32_MODEL)\n');
}
