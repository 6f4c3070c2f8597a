import { readFile } from 'node:fs/promises';
import { PreTrainedTokenizer } from '@xenova/transformers/src/tokenizers.js';
import { describe, expect, it } from 'vitest';
import { createLegibility, createTokenizer, createWordPiece } from '../../src/inference/tokenizer.js';
import { createUnigram } from '../../src/inference/unigram.js';
import { bundledModel, goldenCases } from '../support/model.js';

const CLS = 101;
const SEP = 102;
const UNK = 100;

const { spec, tokenizer: json, tokenizerConfig: config } = bundledModel;
const tokenizer = createTokenizer(json, config, spec);

describe('the reference tokenizer', () => {
  it.each(goldenCases.map((golden) => [golden.text.slice(0, 40), golden] as const))('%j', (_, golden) => {
    const { ids, truncatedTokens } = tokenizer.encode(golden.text);
    expect(ids).toEqual(golden.input_ids);
    expect(truncatedTokens).toBe(golden.untruncated_tokens - golden.input_ids.length);
  });

  // Ids as Hugging Face tokenizers 0.23 gives them.
  it.each([
    ['ΟΔΟΣ', [CLS, 1169, 29722, 29730, 29733, SEP], 'no final sigma'],
    ['𠀀𠀁', [CLS, UNK, UNK, SEP], 'ideographs beyond the BMP are words of their own'],
    ['\u{2B820}\u{2B821}', [CLS, UNK, SEP], 'the reference leaves out 2B820–2B91F'],
    ['İstanbul', [CLS, 9960, SEP], 'a dotted capital I is i'],
    ['[SEP] [sep]', [CLS, SEP, 1031, 19802, 1033, SEP], 'special tokens are literal'],
  ])('%s: %j', (text, expected) => {
    expect(tokenizer.encode(text).ids).toEqual(expected);
  });
});

describe('a Unigram tokenizer', async () => {
  const file = await readFile('test/fixtures/unigram/unigram.json', 'utf8');
  const {
    tokenizer: unigram,
    config: names,
    cases,
  } = JSON.parse(file) as {
    tokenizer: { pre_tokenizer: { pretokenizers: Record<string, unknown>[] } };
    config: object;
    cases: { text: string; ids: number[] }[];
  };
  const build = (document: unknown) =>
    createTokenizer(Buffer.from(JSON.stringify(document)), Buffer.from(JSON.stringify(names)), {
      max_tokens: 512,
    });

  it('gives the ids of the reference, of forty languages, emoji and odd spaces', () => {
    expect(cases.length).toBeGreaterThan(250);
    const { encode, padId } = build(unigram);
    for (const { text, ids } of cases) expect({ text, ids: encode(text).ids }).toEqual({ text, ids });
    expect(padId).toBe(1);
  });

  it('is the same from a file of older form', () => {
    const older = structuredClone(unigram);
    const [, metaspace] = older.pre_tokenizer.pretokenizers;
    expect(metaspace).toMatchObject({ type: 'Metaspace', prepend_scheme: 'always' });
    older.pre_tokenizer.pretokenizers[1] = { type: 'Metaspace', replacement: '▁', add_prefix_space: true };
    const { text = '', ids = [] } = cases[0] ?? {};
    expect(build(older).encode(text).ids).toEqual(ids);
  });

  it('splits by the highest sum of scores, in which a character without a piece costs the most', () => {
    const split = createUnigram(
      [
        ['<unk>', 0],
        ['a', -1],
        ['b', -2],
        ['ab', -2.5],
        ['abc', -9],
        ['🎉', -3],
      ],
      0,
    );
    expect(split(['ab', 'abc', 'abd', 'ddab', '🎉🎊🎉', '<unk>', ''])).toEqual(
      [['ab'], ['abc'], ['ab', 'd'], ['dd', 'ab'], ['🎉', '🎊', '🎉'], ['<unk>']].flat(),
    );
  });
});

describe('truncation', () => {
  it('keeps the closing [SEP] and counts what is cut, at 256 and not at the 128 of tokenizer.json', () => {
    const { ids, truncatedTokens } = tokenizer.encode('word '.repeat(300));
    expect(ids).toHaveLength(256);
    expect(ids.at(0)).toBe(CLS);
    expect(ids.at(-1)).toBe(SEP);
    expect(truncatedTokens).toBe(46);
  });

  it('cuts nothing from a text that fits exactly', () => {
    const { ids, truncatedTokens } = tokenizer.encode('word '.repeat(254));
    expect(ids).toHaveLength(256);
    expect(truncatedTokens).toBe(0);
  });

  it('pads nothing', () => {
    expect(tokenizer.encode('').ids).toEqual([CLS, SEP]);
  });
});

describe('legibility', () => {
  it.each([
    ['my card was charged twice', 'legible'],
    ['12 34', 'legible'],
    ['translate 你好 to English', 'legible'],
    ['translate 我想预订一个明天晚上七点的桌子 into English', 'legible'],
    ['translate "Wie komme ich zum Bahnhof" into English', 'legible'],
    ['اكتب لي قصيدة', 'illegible'],
    ['请帮我预订明天晚上的桌子', 'illegible'],
    ['Не могли бы вы подсказать, где здесь метро?', 'illegible'],
    ['???', 'illegible'],
    ['🎉🎉', 'illegible'],
    ['a'.repeat(101), 'illegible'],
    ['kubectl pods stuck in CrashLoopBackOff', 'legible'],
    ['phytophthora on rhododendron', 'legible'],
    ['', 'empty'],
    ['\u200b', 'empty'],
    ['\u0301\ufeff', 'empty'],
  ])('%j is %s', (text, expected) => {
    expect(tokenizer.encode(text).legibility).toBe(expected);
  });

  it('calls a script legible that the vocabulary has words of', () => {
    const letters = [...'абвгдежзиклмнопр'];
    const words = letters.flatMap((a) => letters.map((b) => `${a}${b}`));
    const vocabulary = new Map(['[UNK]', ...words].map((token, id) => [token, id]));
    expect(createLegibility(vocabulary, 0)([1, 2, 3])).toBe('legible');
    const few = new Map(['[UNK]', ...words.slice(0, 20)].map((token, id) => [token, id]));
    expect(createLegibility(few, 0)([1, 2, 3])).toBe('illegible');
  });
});

describe('odd texts', () => {
  it.each([
    ['lone surrogates', '\udfff\ud800\ud800', [CLS, SEP]],
    ['a lone surrogate in a word', 'hel\ud800lo', [CLS, 7592, SEP]],
    ['NUL', '\0hello\0', [CLS, 7592, SEP]],
    ['broken UTF-8', 'hello\ufffd', [CLS, 7592, SEP]],
    ['a word of 101 characters', 'a'.repeat(101), [CLS, UNK, SEP]],
    ['a word of 101 characters beyond the BMP', '𝒂'.repeat(101), [CLS, UNK, SEP]],
    ['marks in any order', 'e\u0301\u0323', tokenizer.encode('e\u0323\u0301').ids],
  ])('%s', (_, text, expected) => {
    expect(tokenizer.encode(text).ids).toEqual(expected);
  });
});

// Each of these is quadratic somewhere in a naive pipeline; 200,000 alternating marks then take ten seconds. Counted is
// where it was; what hangs elsewhere ends with the test's time.
describe('work linear in the text', () => {
  it.each([
    ['ideographs', '東京の天気'.repeat(4_000)],
    ['one character, no blank', 'a'.repeat(200_000)],
    ['words of 99 characters that match only one at a time', `${'q'.repeat(99)} `.repeat(200)],
    ['one mark again and again', `e${'\u0301'.repeat(200_000)}`],
    ['marks that NFD must sort', `e${'\u0301\u0323'.repeat(100_000)}`],
    ['spacing marks that NFD must sort', `e${'\u302e\u{1d165}'.repeat(70_000)}`],
    ['a special token again and again', '[SEP]'.repeat(10_000)],
  ])('%s', (_, text) => {
    const { ids, work } = encodeCounted(text);
    expect(ids.length).toBeLessThanOrEqual(256);
    // It is counted at all.
    expect(encodeCounted('a word').work).toBeGreaterThan(0);
    expect(work / text.length).toBeLessThan(500);
  });
});

/**
 * Encodes a text and counts what may take long: the characters of every piece that is looked for in the vocabulary,
 * and the square of every run of marks that NFD has to sort.
 */
function encodeCounted(text: string): { ids: number[]; work: number } {
  const { has } = Map.prototype;
  const { normalize } = String.prototype;
  let work = 0;
  Map.prototype.has = function (key: unknown) {
    if (typeof key === 'string') work += key.length;
    return has.call(this, key);
  };
  String.prototype.normalize = function (form) {
    for (const [run] of this.matchAll(/\p{M}+/gu)) work += run.length ** 2;
    return normalize.call(this, form);
  };
  try {
    const { ids } = tokenizer.encode(text);
    return { ids, work };
  } finally {
    Map.prototype.has = has;
    String.prototype.normalize = normalize;
  }
}

describe('a file at fault', () => {
  it.each([
    ['no JSON', Buffer.from('version https://git-lfs')],
    ['no object', Buffer.from('null')],
    ['no tokenizer', Buffer.from('{}')],
    ['not UTF-8', Buffer.from([0xff, 0xfe])],
  ])('%s: model_unloadable', (_, bytes) => {
    expect(() => createTokenizer(bytes, config, spec)).toThrow(
      expect.objectContaining({ name: 'AppError', code: 'model_unloadable' }),
    );
  });
});

it("spells words as the library's own WordPiece does", () => {
  const library = new PreTrainedTokenizer(JSON.parse(json.toString()), {});
  const mended = createWordPiece({
    vocabulary: library.model.tokens_to_ids,
    unknown: '[UNK]',
    continuation: '##',
    maxWordChars: 100,
  });
  const alphabet = [...'aeinrst', 'q', 'ü', '東', '🙂', 'ing', 'un', 'tion', 'ß'];
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const words = Array.from({ length: 2_000 }, (_, index) =>
    Array.from(
      { length: 1 + random(index % 20 === 0 ? 120 : 8) },
      () => alphabet[random(alphabet.length)],
    ).join(''),
  );
  expect(mended(words)).toEqual(library.model.encode(words));
});
