import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { beforeAll, expect, it } from 'vitest';
import { createTokenView, type TokenView } from '../../src/inference/token-view.js';
import { createTokenizer, type Tokenizer } from '../../src/inference/tokenizer.js';
import { goldenCases } from '../support/model.js';

let view: TokenView;
let tokenizer: Tokenizer;

beforeAll(async () => {
  const [json, config] = await Promise.all([
    readFile('model/tokenizer.json'),
    readFile('model/tokenizer_config.json'),
  ]);
  view = createTokenView(json);
  tokenizer = createTokenizer(json, config, { max_tokens: 100_000 });
});

const idsOf = (text: string): number[] => view.encode(text, true).map(({ id }) => id);

it('has the ids of the golden texts', () => {
  // Those that the model does not cut.
  const cases = goldenCases.filter(({ input_ids }) => input_ids.length < 256);
  expect(cases.length).toBeGreaterThan(10);
  for (const { text, input_ids } of cases) expect(idsOf(text)).toEqual(input_ids);
});

it('has the ids that the workers read, whatever the text, and each token stands where it says', () => {
  const piece = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom(
      'Straße',
      'naïve',
      '日本語',
      'ΟΔΟΣ',
      '[SEP]',
      'don’t',
      '\u200b',
      'e\u0301',
      '👍🏽',
      '\t\n',
      'x'.repeat(101),
    ),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (parts) => {
      const text = parts.join(' ');
      expect(idsOf(text)).toEqual(tokenizer.encode(text).ids);
      const chars = [...text];
      for (const { text: own, start, stop, special } of view.encode(text, true)) {
        if (special) expect([start, stop]).toEqual([null, null]);
        else expect(chars.slice(start ?? 0, stop ?? 0).join('')).toBe(own);
      }
    }),
    { numRuns: 300 },
  );
});

it('decodes what it encoded, as the reference does', () => {
  expect(view.decode(idsOf("Embeddings aren't hard, are they?"), true)).toBe(
    "embeddings aren ' t hard, are they?",
  );
  expect(view.decode([101, 17852, 102, 4_000_000_000], false)).toBe('[CLS] ping [SEP]');
});
