import { beforeAll, describe, expect, it } from 'vitest';
import { type Answer, Batcher, nextBatch } from '../../src/inference/batches.js';
import { createSession, type Session } from '../../src/inference/session.js';
import { createTokenizer, type Tokenizer } from '../../src/inference/tokenizer.js';
import { bundledModel, fp32Model, goldenCases } from '../support/model.js';

const { spec, model } = bundledModel;
const tokenizer = createTokenizer(bundledModel.tokenizer, bundledModel.tokenizerConfig, spec);
const texts = goldenCases.map(({ text }) => text);

/** The outcome of each text, in order: its vector, or why it failed. */
async function embed(batcher: Batcher, all: readonly string[]): Promise<(Float32Array | string)[]> {
  const answer: Answer = { passes: 0, results: [], vectors: [] };
  batcher.push(
    all.map((text, id) => ({ id, text })),
    answer,
  );
  while (batcher.size > 0) await batcher.pass(answer);
  const outcomes: (Float32Array | string)[] = [];
  let next = 0;
  for (const result of answer.results) {
    outcomes[result.id] = 'failure' in result ? result.failure : (answer.vectors[next++] ?? 'no vector');
  }
  expect(next).toBe(answer.vectors.length);
  return outcomes;
}

/** A session that records how many rows each pass had. */
function counted(session: Session): { readonly session: Session; readonly passes: number[] } {
  const passes: number[] = [];
  return {
    passes,
    session: {
      embed(rows, padId) {
        passes.push(rows.length);
        return session.embed(rows, padId);
      },
    },
  };
}

/** The model as it would be if batch-mates changed nothing. */
function rowByRow(session: Session, check: (row: readonly number[]) => void = () => {}): Session {
  return {
    async embed(rows, padId) {
      for (const row of rows) check(row);
      const vectors: Float32Array[] = [];
      for (const row of rows) vectors.push(...(await session.embed([row], padId)));
      return vectors;
    },
  };
}

describe('the next batch', () => {
  const limits = { texts: 4, tokens: 44, padding: 3 };
  const row = (length: number) => ({ ids: new Array<number>(length).fill(1) });
  const lengthsOf = (lengths: number[], of = limits) =>
    nextBatch(lengths.map(row), of).map(({ ids }) => ids.length);

  it('is the oldest text and those of like length', () => {
    expect(lengthsOf([10, 30, 9, 5, 10, 11])).toEqual([10, 10, 9, 11]);
    expect(lengthsOf([30, 10, 10])).toEqual([30]);
    expect(lengthsOf([5, 9, 10])).toEqual([5]);
  });

  it('ends at the limits', () => {
    expect(lengthsOf([8, 8, 8, 8, 8, 8])).toEqual([8, 8, 8, 8]);
    expect(lengthsOf([20, 21, 20])).toEqual([20, 20]);
    expect(lengthsOf([300, 300])).toEqual([300]);
    expect(lengthsOf([10, 11], { ...limits, padding: 0 })).toEqual([10]);
    expect(lengthsOf([10, 10], { ...limits, texts: 1 })).toEqual([10]);
    expect(lengthsOf([])).toEqual([]);
  });
});

describe('q8', () => {
  let session: Session;
  beforeAll(async () => {
    session = await createSession(model, spec);
  });

  it('depends on batch-mates, so that each text has a pass of its own', async () => {
    const { session: watched, passes } = counted(session);
    const batcher = new Batcher(tokenizer, watched);
    await batcher.allowBatches(texts.slice(0, 3));
    expect(batcher.batches).toBe(false);
    passes.length = 0;
    const vectors = await embed(batcher, texts);
    expect(passes).toEqual(texts.map(() => 1));
    for (const [index, vector] of vectors.entries()) {
      expect(vector).toEqual((await embed(batcher, [texts[index] ?? '']))[0]);
    }
  });

  it('is checked in a full pass, too', async () => {
    const sensitive: Session = {
      embed: (rows, padId) => (rows.length < 4 ? rowByRow(session) : session).embed(rows, padId),
    };
    const batcher = new Batcher(tokenizer, sensitive);
    await batcher.allowBatches(texts.slice(0, 3));
    expect(batcher.batches).toBe(false);
  });

  it('lets a text fail alone that cannot be tokenized', async () => {
    const failing: Tokenizer = {
      ...tokenizer,
      encode(text) {
        if (text === 'a poisoned text') throw new Error('cannot');
        return tokenizer.encode(text);
      },
    };
    const outcomes = await embed(new Batcher(failing, session), ['before', 'a poisoned text', 'behind']);
    const [before, behind] = await embed(new Batcher(tokenizer, session), ['before', 'behind']);
    expect(outcomes).toEqual([before, 'cannot', behind]);
  });

  it('lets a text fail alone that shares a pass', async () => {
    const poison = 'a poisoned text';
    const bad = tokenizer.encode(poison).ids.join();
    const { session: watched, passes } = counted(
      rowByRow(session, (row) => {
        if (row.join() === bad) throw new Error('cannot');
      }),
    );
    const batcher = new Batcher(tokenizer, watched);
    await batcher.allowBatches(texts.slice(0, 3));
    expect(batcher.batches).toBe(true);
    passes.length = 0;
    const outcomes = await embed(batcher, ['a nice long text', poison, 'a very good text']);
    expect(passes).toEqual([3, 1, 1, 1]);
    const [first, last] = await embed(new Batcher(tokenizer, session), [
      'a nice long text',
      'a very good text',
    ]);
    expect(outcomes).toEqual([first, 'cannot', last]);
  });
});

const fp32 = fp32Model();
it('few texts that wait are sparse, where passes are shared at all', async () => {
  const batcher = new Batcher(tokenizer, rowByRow(await createSession(model, spec)));
  const answer: Answer = { passes: 0, results: [], vectors: [] };
  expect(batcher.sparse).toBe(false);
  await batcher.allowBatches(['hello'], { texts: 8, tokens: 24, padding: 8 });
  expect(batcher.sparse).toBe(true);
  // Three tokens each.
  batcher.push(
    [0, 1, 2].map((id) => ({ id, text: 'hello' })),
    answer,
  );
  expect(batcher.sparse).toBe(true);
  batcher.push([{ id: 3, text: 'hello' }], answer);
  expect(batcher.sparse).toBe(false);
});

describe.skipIf(fp32 === undefined)(
  fp32 ? 'fp32' : 'fp32 — SKIPPED: no model.onnx; set AI_ROUTER_FP32_MODEL to run these',
  () => {
    it('shares passes among texts of like length, and not one bit is another', async () => {
      const loaded = counted(await createSession(fp32 ?? Buffer.alloc(0), spec));
      const batcher = new Batcher(tokenizer, loaded.session);
      const words = 'please tell me how to cancel the order that I made for my sister last week'.split(' ');
      const many = [
        ...texts,
        ...Array.from({ length: 60 }, (_, index) => words.slice(index % 7, 8 + (index % 8)).join(' ')),
      ];
      const alone = await embed(batcher, many);
      await batcher.allowBatches(texts.slice(0, 3));
      expect(batcher.batches).toBe(true);
      loaded.passes.length = 0;
      expect(await embed(batcher, many)).toEqual(alone);
      expect(loaded.passes.length).toBeLessThan(many.length / 2);
      expect(Math.max(...loaded.passes)).toBeGreaterThanOrEqual(8);
    });
  },
);
