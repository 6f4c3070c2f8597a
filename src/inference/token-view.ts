import { createNormalizer, createWordPiece } from './tokenizer.js';

/** One token of a text. */
export interface Token {
  readonly id: number;
  /** The piece of the text that it stands for; of a special token, its name. */
  readonly text: string;
  readonly special: boolean;
  /** Where the piece begins and ends in the text, in characters (code points); null of a special token. */
  readonly start: number | null;
  readonly stop: number | null;
}

/** Shows people and clients what a WordPiece tokenizer makes of a text. The workers have a faster one without places. */
export interface TokenView {
  /** Never fails and cuts nothing. */
  encode(text: string, addSpecialTokens: boolean): Token[];
  /** Text of token ids; ids that the vocabulary does not have are skipped. */
  decode(ids: readonly number[], skipSpecialTokens: boolean): string;
}

/** The parts of `tokenizer.json` that matter here. */
interface TokenizerJson {
  readonly model: {
    readonly vocab: Readonly<Record<string, number>>;
    readonly unk_token: string;
    readonly continuing_subword_prefix: string;
    readonly max_input_chars_per_word: number;
  };
  readonly normalizer: Readonly<Record<string, boolean | null>>;
  readonly added_tokens: readonly {
    readonly id: number;
    readonly content: string;
    readonly special: boolean;
  }[];
  readonly post_processor: {
    readonly single: readonly { readonly SpecialToken?: { readonly id: string } }[];
  };
}

/** A character of the normalized text, and where it came from. */
interface Piece {
  readonly text: string;
  readonly at: number;
}

const WHITE_SPACE = /^\s$/u;
const PUNCTUATION = /^[\p{P}\u0021-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u007E]$/u;
/** Tokens that the reference's decoder joins to the word before. */
const JOINED = /^ (?=([.?!,]|n't$|'m$|'s$|'ve$|'re$))/;

/** Makes a view of the bytes of a verified `tokenizer.json`. */
export function createTokenView(tokenizerJson: Uint8Array): TokenView {
  const json = JSON.parse(new TextDecoder().decode(tokenizerJson)) as TokenizerJson;
  const { vocab, unk_token: unknown, continuing_subword_prefix: continuation } = json.model;
  const maxWordChars = json.model.max_input_chars_per_word;
  const lowercase = json.normalizer.lowercase === true;
  const normalize = createNormalizer({
    cleanText: json.normalizer.clean_text === true,
    handleChineseChars: json.normalizer.handle_chinese_chars === true,
    stripAccents: json.normalizer.strip_accents ?? lowercase,
    lowercase,
    maxWordChars,
  });
  const vocabulary = new Map(Object.entries(vocab));
  const added = new Map(json.added_tokens.map(({ content, id }) => [content, id]));
  for (const [content, id] of added) vocabulary.set(content, id);
  const names = new Map([...vocabulary].map(([token, id]) => [id, token]));
  const special = new Set(json.added_tokens.filter((token) => token.special).map(({ id }) => id));
  const spell = createWordPiece({ vocabulary, unknown, continuation, maxWordChars });
  const template = json.post_processor.single.map(({ SpecialToken: token }) => token?.id);
  const middle = template.indexOf(undefined);
  const frame = (ids: readonly (string | undefined)[]): Token[] =>
    ids.flatMap((name) =>
      name === undefined
        ? []
        : [{ id: vocabulary.get(name) ?? 0, text: name, special: true, start: null, stop: null }],
    );

  function* wordsOf(chars: readonly string[]): Generator<Piece[]> {
    let word: Piece[] = [];
    for (const [at, char] of chars.entries()) {
      for (const text of normalize(char)) {
        const isPunctuation = PUNCTUATION.test(text);
        if ((isPunctuation || WHITE_SPACE.test(text)) && word.length > 0) {
          yield word;
          word = [];
        }
        if (isPunctuation) yield [{ text, at }];
        else if (!WHITE_SPACE.test(text)) word.push({ text, at });
      }
    }
    if (word.length > 0) yield word;
  }

  function tokensOf(text: string, from: number): Token[] {
    const chars = [...text];
    const token = (id: number, start: number, stop: number): Token => ({
      id,
      text: chars.slice(start, stop).join(''),
      special: false,
      start: from + start,
      stop: from + stop,
    });
    const unknownId = vocabulary.get(unknown) ?? 0;
    return [...wordsOf(chars)].flatMap((word) => {
      const pieces = spell([word.map((piece) => piece.text).join('')]);
      const place = (index: number): number => word[Math.min(index, word.length - 1)]?.at ?? 0;
      if (pieces.length === 1 && pieces[0] === unknown)
        return [token(unknownId, place(0), place(word.length) + 1)];
      let read = 0;
      return pieces.map((piece, index) => {
        const start = read;
        read += [...(index > 0 ? piece.slice(continuation.length) : piece)].length;
        return token(vocabulary.get(piece) ?? unknownId, place(start), place(read - 1) + 1);
      });
    });
  }

  return {
    encode(text, addSpecialTokens) {
      const tokens: Token[] = [];
      let from = 0;
      for (const part of splitAt(text, [...added.keys()])) {
        const length = [...part].length;
        const id = added.get(part);
        if (id === undefined) for (const token of tokensOf(part, from)) tokens.push(token);
        else tokens.push({ id, text: part, special: false, start: from, stop: from + length });
        from += length;
      }
      if (!addSpecialTokens) return tokens;
      return [...frame(template.slice(0, middle)), ...tokens, ...frame(template.slice(middle + 1))];
    },
    decode(ids, skipSpecialTokens) {
      const kept = ids.filter((id) => names.has(id) && !(skipSpecialTokens && special.has(id)));
      return kept
        .map((id, index) => {
          const name = names.get(id) ?? '';
          if (index === 0) return name;
          const joined = name.startsWith(continuation) ? name.slice(continuation.length) : ` ${name}`;
          return joined.replace(JOINED, '');
        })
        .join('');
    },
  };
}

/** Cuts a text at every occurrence of some strings, which are parts of their own. */
function splitAt(text: string, marks: readonly string[]): string[] {
  let parts = [text];
  for (const mark of marks) {
    const cut = (part: string): string[] =>
      part.split(mark).flatMap((piece, index) => (index === 0 ? [piece] : [mark, piece]));
    parts = parts.flatMap((part) => (marks.includes(part) ? [part] : cut(part)));
  }
  return parts.filter((part) => part !== '');
}
