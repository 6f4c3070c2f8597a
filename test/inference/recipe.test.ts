import { describe, expect, it } from 'vitest';
import {
  applyRecipe,
  parseRecipe,
  pinOf,
  type Recipe,
  type RecipePiece,
} from '../../src/inference/recipe.js';
import { modelFile } from '../support/model.js';

const source = Buffer.from('the quick brown fox');
const base64 = (text: string) => Buffer.from(text).toString('base64');

/** A recipe for `source` that gives `result`, whatever its pieces. */
function recipeOf(pieces: readonly RecipePiece[], result = 'the slow fox'): Recipe {
  return { schema: 1, source: pinOf(source), result: pinOf(Buffer.from(result)), pieces };
}

describe('a recipe', () => {
  it('derives the result from ranges and literal bytes', () => {
    const result = applyRecipe(recipeOf([[0, 4], base64('slow '), [16, 3]]), source);
    expect(Buffer.from(result).toString()).toBe('the slow fox');
  });

  it.each<[string, Recipe, Buffer, RegExp]>([
    [
      'another source',
      recipeOf([[0, 4], base64('slow '), [16, 3]]),
      Buffer.from('the quick brown fix'),
      /the source has/,
    ],
    [
      'a shorter source',
      recipeOf([[0, 4], base64('slow '), [16, 3]]),
      source.subarray(1),
      /the source has 18 bytes/,
    ],
    ['a changed literal', recipeOf([[0, 4], base64('slaw '), [16, 3]]), source, /the result has 12 bytes/],
    ['a changed range', recipeOf([[1, 4], base64('slow '), [16, 3]]), source, /the result has 12 bytes/],
    [
      'a range outside the source',
      recipeOf([[0, 4], base64('slow '), [17, 3]]),
      source,
      /piece 2 lies outside/,
    ],
    ['more bytes than pinned', recipeOf([[0, 19]]), source, /piece 0 exceeds the size/],
    ['fewer bytes than pinned', recipeOf([[0, 4]]), source, /its pieces have at most 4 bytes, its result 12/],
    [
      'fewer bytes in its literals',
      recipeOf([[0, 4], 'AA======']),
      source,
      /its pieces have 5 bytes, its result 12/,
    ],
    ['a range beyond all numbers', recipeOf([[2 ** 53 - 1, 2 ** 53 - 1]]), source, /piece 0 lies outside/],
    [
      'a result that no memory holds',
      { ...recipeOf([[0, 2 ** 53 - 1]]), result: { size: 2 ** 53 - 1, sha256: '0'.repeat(64) } },
      source,
      /more than 2147483648 bytes/,
    ],
    [
      'a result of a gigabyte from nothing',
      { ...recipeOf([[0, 19]]), result: { size: 2 ** 30, sha256: '0'.repeat(64) } },
      source,
      /at most 19 bytes, its result 1073741824/,
    ],
  ])('gives nothing for %s', (_, recipe, bytes, message) => {
    expect(() => applyRecipe(recipe, bytes)).toThrow(message);
    expect(() => applyRecipe(recipe, bytes)).toThrow(expect.objectContaining({ code: 'model_unloadable' }));
  });

  it.each([
    ['no JSON', '{', /not JSON/],
    ['another schema', JSON.stringify({ ...recipeOf([]), schema: 2 }), /schema must be 1/],
    ['null', 'null', /schema must be 1/],
    [
      'a digest in capitals',
      JSON.stringify({ ...recipeOf([]), source: { size: 1, sha256: 'A'.repeat(64) } }),
      /sha256/,
    ],
    ['a negative offset', JSON.stringify({ ...recipeOf([]), pieces: [[-1, 4]] }), /a piece must be/],
    ['half a byte', JSON.stringify({ ...recipeOf([]), pieces: [[0, 0.5]] }), /a piece must be/],
    ['a range of one number', JSON.stringify({ ...recipeOf([]), pieces: [[0]] }), /a piece must be/],
    ['no pieces', JSON.stringify({ ...recipeOf([]), pieces: undefined }), /a piece must be/],
  ])('is refused with %s', (_, text, message) => {
    expect(() => parseRecipe(text)).toThrow(message);
  });
});

describe('the recipe that comes with the program', () => {
  const hub = modelFile('onnx/model_quantized.onnx');
  const recipe = parseRecipe(modelFile('q8-fixed-scales.recipe.json').toString());

  it('keeps all weights of the hub’s file and adds little', () => {
    const result = applyRecipe(recipe, hub);
    const copied = recipe.pieces.reduce((sum, piece) => sum + (typeof piece === 'string' ? 0 : piece[1]), 0);
    expect(pinOf(result)).toEqual(recipe.result);
    expect(hub.length - copied).toBeLessThan(60_000);
    expect(result.length - copied).toBeLessThan(30_000);
  });
});
