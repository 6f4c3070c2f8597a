import { beforeAll, describe, expect, it } from 'vitest';
import { makeFixedScalesRecipe } from '../../src/inference/fixed-scales.js';
import { assemble, parseOnnx, rewriteOnnx } from '../../src/inference/onnx-graph.js';
import { applyRecipe, parseRecipe, type Recipe } from '../../src/inference/recipe.js';
import { createSession, type Session } from '../../src/inference/session.js';
import { createTokenizer } from '../../src/inference/tokenizer.js';
import { bundledModel, cosine, goldenCases, modelFile } from '../support/model.js';

const TEXTS = ['where is my parcel', 'for (;;) { i += 1; }', '你好', 'a', 'no '.repeat(60)];

describe('fixed activation scales', () => {
  const { spec, model, tokenizer, tokenizerConfig } = bundledModel;
  const { encode, padId } = createTokenizer(tokenizer, tokenizerConfig, spec);
  const rows = goldenCases.map(({ text }) => encode(text).ids);
  let recipe: Recipe;
  let fixed: Session;

  beforeAll(async () => {
    recipe = await makeFixedScalesRecipe(bundledModel, TEXTS);
    fixed = await createSession(applyRecipe(recipe, model), spec);
  }, 120_000);

  it('come out the same again', async () => {
    expect(await makeFixedScalesRecipe(bundledModel, TEXTS)).toEqual(recipe);
  });

  it('depend on the calibration texts', async () => {
    const other = await makeFixedScalesRecipe(bundledModel, TEXTS.slice(0, 1));
    expect(other.result.sha256).not.toBe(recipe.result.sha256);
  });

  it('that come with the program are as close to the full-precision model as the hub’s', async () => {
    const shipped = parseRecipe(modelFile('q8-fixed-scales.recipe.json').toString());
    const session = await createSession(applyRecipe(shipped, model), spec);
    let own = 0;
    let hub = 0;
    for (const [index, { fp32, q8 }] of goldenCases.entries()) {
      const [vector = []] = await session.embed([rows[index] ?? []]);
      own += cosine(fp32, vector);
      hub += cosine(fp32, q8);
    }
    expect(own).toBeGreaterThanOrEqual(hub);
  });

  it('give each text in a padded batch the vector that it has alone, to the bit', async () => {
    const short = rows.map((row) => row.slice(0, 24));
    const alone: Float32Array[] = [];
    for (const row of short) alone.push(...(await fixed.embed([row])));
    expect(await fixed.embed(short, padId)).toEqual(alone);
    const hub = await createSession(model, spec);
    const [first = []] = short;
    expect((await hub.embed(short, padId))[0]).not.toEqual((await hub.embed([first]))[0]);
  });

  it('leave no dynamic operator in the graph', () => {
    const operators = parseOnnx(applyRecipe(recipe, model)).nodes.map(({ operator }) => operator);
    expect(operators).not.toContain('DynamicQuantizeLinear');
    expect(operators).not.toContain('MatMulInteger');
    expect(operators.filter((name) => name === 'QuantizeLinear')).toHaveLength(24);
    expect(operators.filter((name) => name === 'MatMulIntegerToFloat')).toHaveLength(36);
  });

  it('are refused for a model that has none to fix', async () => {
    const already = { ...bundledModel, model: applyRecipe(recipe, model) };
    await expect(makeFixedScalesRecipe(already, TEXTS)).rejects.toThrow(/no node DynamicQuantizeLinear/);
  });
});

describe('an ONNX file', () => {
  it('is the same after a rewrite that changes nothing, but for the place of its nodes', () => {
    const model = parseOnnx(bundledModel.model);
    const again = parseOnnx(assemble(rewriteOnnx(model, {}), bundledModel.model));
    expect(again.bytes.length).toBe(model.bytes.length);
    const names = ({ nodes }: typeof model) =>
      nodes.map(({ name, inputs, outputs }) => [name, inputs, outputs]);
    expect(names(again)).toEqual(names(model));
    expect([...again.constants]).toEqual([...model.constants]);
  });

  it.each([
    ['text', Buffer.from('<!doctype html><title>Not found</title>')],
    ['a file cut short', Buffer.from(bundledModel.model.subarray(0, 1_000_000))],
    ['nothing', Buffer.alloc(0)],
  ])('is not %s', (_, bytes) => {
    expect(() => parseOnnx(bytes)).toThrow(expect.objectContaining({ code: 'model_unloadable' }));
  });
});
