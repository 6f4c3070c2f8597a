import { beforeAll, describe, expect, it } from 'vitest';
import type { WorkerResult } from '../../src/inference/protocol.js';
import { createSession, type Session } from '../../src/inference/session.js';
import { TextEmbedder } from '../../src/inference/text-embedder.js';
import { createTokenizer, type Tokenizer } from '../../src/inference/tokenizer.js';
import { bundledModel, fp32Model, goldenCases } from '../support/model.js';

const { spec, model } = bundledModel;
const tokenizer = createTokenizer(bundledModel.tokenizer, bundledModel.tokenizerConfig, spec);
const texts = goldenCases.map(({ text }) => text);

function vectorsOf(results: readonly WorkerResult[]): Float32Array[] {
  return results.map((result) => {
    if ('failure' in result) throw new Error(result.failure);
    return result.vector;
  });
}

/** A session that notes how many rows each pass had. */
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

describe('q8', () => {
  let session: Session;
  beforeAll(async () => {
    session = await createSession(model, spec);
  });

  it('is found to depend on batch-mates, so that each text has a pass of its own', async () => {
    const { session: watched, passes } = counted(session);
    const embedder = new TextEmbedder(tokenizer, watched);
    await embedder.allowBatches(texts.slice(0, 3));
    expect(embedder.batches).toBe(false);
    passes.length = 0;
    const results = await embedder.embed(texts);
    expect(passes).toEqual(texts.map(() => 1));
    for (const [index, vector] of vectorsOf(results).entries()) {
      const [alone] = vectorsOf(await embedder.embed([texts[index] ?? '']));
      expect(vector).toEqual(alone);
      expect(results[index]).toMatchObject({ tokens: goldenCases[index]?.input_ids.length });
    }
  });

  it('lets a text fail alone that the tokenizer cannot take', async () => {
    const failing: Tokenizer = {
      ...tokenizer,
      encode(text) {
        if (text === 'a poisoned text') throw new Error('cannot');
        return tokenizer.encode(text);
      },
    };
    const results = await new TextEmbedder(failing, session).embed(['before', 'a poisoned text', 'behind']);
    const alone = await new TextEmbedder(tokenizer, session).embed(['before', 'behind']);
    expect(results[1]).toEqual({ failure: 'cannot' });
    expect(vectorsOf([results[0], results[2]].filter((result) => result !== undefined))).toEqual(
      vectorsOf(alone),
    );
  });

  it('lets a text fail alone, be it in a batch', async () => {
    const poison = 'a poisoned text';
    const bad = tokenizer.encode(poison).ids.join();
    const failing: Session = {
      async embed(rows, padId) {
        if (rows.some((row) => row.join() === bad)) throw new Error('cannot');
        // The model as it would be if batch-mates changed nothing.
        const vectors: Float32Array[] = [];
        for (const row of rows) vectors.push(...(await session.embed([row], padId)));
        return vectors;
      },
    };
    const embedder = new TextEmbedder(tokenizer, failing);
    await embedder.allowBatches(texts.slice(0, 3));
    expect(embedder.batches).toBe(true);
    const results = await embedder.embed(['a nice, long text', poison, 'a very good text']);
    expect(results).toEqual([
      expect.objectContaining({ vector: expect.any(Float32Array) }),
      { failure: 'cannot' },
      expect.objectContaining({ vector: expect.any(Float32Array) }),
    ]);
  });
});

const fp32 = fp32Model();
describe.skipIf(fp32 === undefined)(
  fp32 ? 'fp32' : 'fp32 — SKIPPED: no model.onnx; set AI_ROUTER_FP32_MODEL to run these',
  () => {
    it('shares passes among texts of like length, and not one bit is another', async () => {
      const loaded = counted(await createSession(fp32 ?? Buffer.alloc(0), spec));
      const embedder = new TextEmbedder(tokenizer, loaded.session);
      const words = 'please tell me how to cancel the order that I made for my sister last week'.split(' ');
      const many = [
        ...texts,
        ...Array.from({ length: 60 }, (_, index) => words.slice(index % 7, 8 + (index % 8)).join(' ')),
      ];
      const alone = vectorsOf(await embedder.embed(many));
      await embedder.allowBatches(texts.slice(0, 3));
      expect(embedder.batches).toBe(true);
      loaded.passes.length = 0;
      expect(vectorsOf(await embedder.embed(many))).toEqual(alone);
      expect(loaded.passes.length).toBeLessThan(many.length / 2);
      expect(Math.max(...loaded.passes)).toBe(8);
    });
  },
);
