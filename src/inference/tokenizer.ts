import { PreTrainedTokenizer } from '@xenova/transformers/src/tokenizers.js';
import type { EmbeddingSpec } from '../cache/manifest.js';
import { AppError, messageOf } from '../shared/errors.js';
import type { Legibility } from './embedder.js';
import { createUnigram } from './unigram.js';

/** The token ids of one text. */
export interface Encoding {
  /** Ids with the special tokens, at most the model's `max_tokens`. */
  readonly ids: number[];
  /** Tokens that were cut off the end of the text. */
  readonly truncatedTokens: number;
  readonly legibility: Legibility;
}

/**
 * Turns text into token ids, equal to those of the reference tokenizer. What is a mark, a letter or punctuation
 * is for Node's Unicode to say; the reference's tables stop at Unicode 8, so that some 650 rare characters
 * assigned since then (of Adlam or Zanabazar Square, say) may come out otherwise. Of SentencePiece's normalizations, only
 * nmt_nfkc is known; it composes Korean letters that stand apart, which the reference does not.
 */
export interface Tokenizer {
  /** The id that fills the short rows of a batch. */
  readonly padId: number;
  /** Never fails: any string has an encoding, be it only the special tokens. Takes time linear in the text. */
  encode(text: string): Encoding;
}

const DEFAULT_MAX_WORD_CHARS = 100;

/**
 * Builds the tokenizer from the bytes of `tokenizer.json` and `tokenizer_config.json`; touches neither disk
 * nor network. The file's own `truncation` and `padding` settings do not apply: `spec.max_tokens` does.
 * @throws AppError `model_unloadable`
 */
export function createTokenizer(
  tokenizerJson: Uint8Array,
  tokenizerConfig: Uint8Array,
  spec: Pick<EmbeddingSpec, 'max_tokens'>,
): Tokenizer {
  try {
    return build(parseObject(tokenizerJson), parseObject(tokenizerConfig), spec.max_tokens);
  } catch (cause) {
    throw new AppError('model_unloadable', `the tokenizer cannot be built: ${messageOf(cause)}`, { cause });
  }
}

type Json = Record<string, unknown>;

function build(json: Json, config: Json, maxTokens: number): Tokenizer {
  const vocabulary = takeVocabulary(json);
  mendMetaspace(json.pre_tokenizer);
  const library = new PreTrainedTokenizer(json, config);
  if (vocabulary) giveVocabulary(library, vocabulary);
  mendNormalizer(library, json);
  mendWordPiece(library, json);
  mendUnigram(library, json);

  const body = (text: string) => library.encode(text, null, { add_special_tokens: false });
  const [prefix, suffix] = frameOf(library);
  const { tokens_to_ids: idOf, unk_token_id: unknownId } = library.model;
  const legibilityOf = createLegibility(idOf, unknownId);
  const room = maxTokens - prefix.length - suffix.length;
  if (room < 1) throw new Error(`max_tokens ${maxTokens} leaves no room beside the special tokens`);

  return {
    padId: library.model.tokens_to_ids.get(library.pad_token ?? '') ?? 0,
    encode(text) {
      // The library's own truncation would cut the closing special token off.
      const ids = body(text);
      const truncatedTokens = Math.max(0, ids.length - room);
      if (truncatedTokens > 0) ids.length = room;
      return { ids: [...prefix, ...ids, ...suffix], truncatedTokens, legibility: legibilityOf(ids) };
    },
  };
}

/** The special tokens that the post-processor puts before and after a text. */
function frameOf(library: PreTrainedTokenizer): [prefix: number[], suffix: number[]] {
  const bare = library.encode('a', null, { add_special_tokens: false });
  const framed = library.encode('a', null, { add_special_tokens: true });
  for (let start = 0; bare.length > 0 && start + bare.length <= framed.length; start += 1) {
    if (bare.every((id, offset) => framed[start + offset] === id)) {
      return [framed.slice(0, start), framed.slice(start + bare.length)];
    }
  }
  throw new Error('its special tokens do not frame the text');
}

/** Files of today say `prepend_scheme` where the library knows only `add_prefix_space`. */
function mendMetaspace(step: unknown): void {
  if (!isObject(step)) return;
  if (Array.isArray(step.pretokenizers)) for (const each of step.pretokenizers) mendMetaspace(each);
  if (step.type === 'Metaspace') step.add_prefix_space ??= step.prepend_scheme !== 'never';
}

function mendNormalizer(library: PreTrainedTokenizer, json: Json): void {
  const { normalizer } = json;
  if (!isObject(normalizer) || normalizer.type !== 'BertNormalizer') return;
  const lowercase = normalizer.lowercase === true;
  library.normalizer = createNormalizer({
    cleanText: normalizer.clean_text === true,
    handleChineseChars: normalizer.handle_chinese_chars === true,
    // `null` means: as lower-casing does.
    stripAccents: typeof normalizer.strip_accents === 'boolean' ? normalizer.strip_accents : lowercase,
    lowercase,
    maxWordChars: maxWordCharsOf(json.model),
  });
}

/**
 * Takes the vocabulary out of a WordPiece model, if it has one. The library makes an array of each token, a list of
 * all and only then its map, and another list to decode with: half of the time that a tokenizer takes to be built.
 */
function takeVocabulary({ model }: Json): Json | undefined {
  if (!isObject(model) || model.type !== 'WordPiece' || !isObject(model.vocab)) return undefined;
  const { vocab } = model;
  model.vocab = {};
  return vocab;
}

/** Fills the library's own map; added tokens, which it holds already, win over the vocabulary. */
function giveVocabulary({ model }: PreTrainedTokenizer, vocabulary: Json): void {
  const { tokens_to_ids: ids } = model;
  for (const token in vocabulary) {
    const id = vocabulary[token];
    if (typeof id !== 'number') throw new Error(`the token ${JSON.stringify(token)} has no number`);
    if (!ids.has(token)) ids.set(token, id);
  }
  model.unk_token_id = ids.get(model.unk_token ?? '');
}

function mendWordPiece(library: PreTrainedTokenizer, json: Json): void {
  const { model } = json;
  if (!isObject(model) || model.type !== 'WordPiece') return;
  library.model.encode = createWordPiece({
    vocabulary: library.model.tokens_to_ids,
    unknown: String(model.unk_token),
    continuation: String(model.continuing_subword_prefix),
    maxWordChars: maxWordCharsOf(model),
  });
}

function mendUnigram(library: PreTrainedTokenizer, { model }: Json): void {
  if (!isObject(model) || model.type !== 'Unigram') return;
  const { vocab, unk_id: unknownId } = model;
  const isPiece = (piece: unknown): piece is [string, number] =>
    Array.isArray(piece) && typeof piece[0] === 'string' && typeof piece[1] === 'number';
  if (!Array.isArray(vocab) || !vocab.every(isPiece)) throw new Error('its vocabulary is no list of pieces');
  if (typeof unknownId !== 'number') throw new Error('it has no token for what it cannot spell');
  library.model.encode = createUnigram(vocab, unknownId);
}

function maxWordCharsOf(model: unknown): number {
  const declared = isObject(model) ? model.max_input_chars_per_word : undefined;
  return typeof declared === 'number' ? declared : DEFAULT_MAX_WORD_CHARS;
}

function parseObject(bytes: Uint8Array): Json {
  const json: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  if (!isObject(json)) throw new Error('not a JSON object');
  return json;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null;
}

/** Options of a BERT normalizer; the names are those of `tokenizer.json`, in camel case. */
interface NormalizerOptions {
  /** Removes control characters and turns every kind of white space into a blank. */
  readonly cleanText: boolean;
  /** Puts blanks around ideographs, so that each is a word. */
  readonly handleChineseChars: boolean;
  readonly stripAccents: boolean;
  readonly lowercase: boolean;
  /** Longest word, in characters, that the vocabulary is asked for; a longer one is unknown as a whole. */
  readonly maxWordChars: number;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is a range of control characters and others.
const ASCII_ONLY = /^[\x00-\x7f]*$/;
/** Format, private-use and control characters, halves of surrogate pairs, and the mark of broken UTF-8. */
const INVISIBLE = /(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\uFFFD]/gu;
const WHITE_SPACE = /[^\S ]/g;
/** The reference's own ranges, whose sixth starts at 2B920 where the Unicode block starts at 2B820. */
const IDEOGRAPH =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;
const NONSPACING_MARKS = /\p{Mn}+/gu;
const MARKS = /\p{M}+/gu;

/** Runs of marks up to this length (UTF-16 units) go to NFD as they are: no language writes longer ones. */
const MARK_RUN = 64;

/**
 * Makes a function that normalizes text exactly as the reference tokenizer's BertNormalizer does. The library
 * deviates from it in four ways: it strips only U+0300–U+036F where the reference strips every nonspacing
 * mark, does not see ideographs beyond the BMP, lower-cases a word-final Σ to ς, and lower-cases before it
 * strips. Takes time linear in the text, whatever the text.
 */
export function createNormalizer(options: NormalizerOptions): (text: string) => string {
  const { cleanText, handleChineseChars, stripAccents, lowercase, maxWordChars } = options;
  return (text) => {
    const ascii = ASCII_ONLY.test(text);
    let normal = text;
    if (cleanText) normal = normal.replace(INVISIBLE, '').replace(WHITE_SPACE, ' ');
    if (handleChineseChars && !ascii) normal = normal.replace(IDEOGRAPH, ' $& ');
    if (stripAccents && !ascii) {
      normal = shortenMarkRuns(normal, maxWordChars).normalize('NFD').replace(NONSPACING_MARKS, '');
    }
    // The reference lower-cases one character at a time and so knows no final sigma.
    if (lowercase) normal = normal.replaceAll('Σ', 'σ').toLowerCase();
    return normal;
  };
}

/**
 * NFD sorts each run of marks, in time quadratic in the run: 20,000 of them take 0.1 s, 200,000 take 10 s.
 * Nonspacing marks are stripped after NFD anyway, and what is left of so long a run makes the word longer
 * than any known one, however much of it stays.
 */
function shortenMarkRuns(text: string, maxWordChars: number): string {
  return text.replace(MARKS, (run) =>
    run.length <= MARK_RUN ? run : run.replace(NONSPACING_MARKS, '').slice(0, 2 * (maxWordChars + 1)),
  );
}

/** Parts of a WordPiece model. */
interface WordPieceOptions {
  /** Token → id; only the tokens matter here. */
  readonly vocabulary: ReadonlyMap<string, number>;
  /** The token for a word that the vocabulary cannot spell. */
  readonly unknown: string;
  /** Prefix of a token that continues a word, `##`. */
  readonly continuation: string;
  /** A word of more characters (code points) is unknown as a whole. */
  readonly maxWordChars: number;
}

/**
 * Makes the WordPiece step, words → tokens: the longest token that starts the word, then the longest that
 * continues it, and so on. Equal to the library's own, but it never tries a piece longer than the longest
 * token: on words of 99 characters, which an attacker may send, that is 20 times less work.
 */
export function createWordPiece(options: WordPieceOptions): (words: readonly string[]) => string[] {
  const { vocabulary, unknown, continuation, maxWordChars } = options;
  let longest = 0;
  for (const token of vocabulary.keys()) longest = Math.max(longest, token.length);

  /** Appends the tokens of one word to `tokens`; false, with `tokens` unchanged, when it cannot be spelled. */
  function spell(word: string, tokens: string[]): boolean {
    const before = tokens.length;
    // Positions are UTF-16 units: no token ends in half a surrogate pair, so none matches up to one.
    for (let start = 0; start < word.length; ) {
      const prefix = start === 0 ? '' : continuation;
      let end = Math.min(word.length, start + longest - prefix.length);
      let token = prefix + word.slice(start, end);
      while (end > start && !vocabulary.has(token)) {
        end -= 1;
        token = prefix + word.slice(start, end);
      }
      if (end <= start) {
        tokens.length = before;
        return false;
      }
      tokens.push(token);
      start = end;
    }
    return true;
  }

  return (words) => {
    const tokens: string[] = [];
    for (const word of words) {
      if (isLongerThan(word, maxWordChars) || !spell(word, tokens)) tokens.push(unknown);
    }
    return tokens;
  };
}

function isLongerThan(word: string, chars: number): boolean {
  if (word.length <= chars) return false;
  return word.length > 2 * chars || [...word].length > chars;
}

/** A vocabulary with fewer tokens of two letters or more in a script was not made from text in it. */
const LEAST_TOKENS = 100;
/** As many tokens that can be read make a text legible, whatever script it quotes beside them. */
const ENOUGH_READ = 3;
/** Scripts that models are trained on. Letters of any other count as unread. */
const SCRIPTS = [
  /\p{Script=Latin}/u,
  /\p{Script=Cyrillic}/u,
  /\p{Script=Greek}/u,
  /\p{Script=Arabic}/u,
  /\p{Script=Hebrew}/u,
  /\p{Script=Devanagari}/u,
  /\p{Script=Bengali}/u,
  /\p{Script=Tamil}/u,
  /\p{Script=Telugu}/u,
  /\p{Script=Thai}/u,
  /\p{Script=Han}/u,
  /\p{Script=Hiragana}/u,
  /\p{Script=Katakana}/u,
  /\p{Script=Hangul}/u,
  /\p{Script=Armenian}/u,
  /\p{Script=Georgian}/u,
  /\p{Script=Khmer}/u,
  /\p{Script=Lao}/u,
  /\p{Script=Ethiopic}/u,
  /\p{Script=Myanmar}/u,
  /\p{Script=Gurmukhi}/u,
  /\p{Script=Gujarati}/u,
  /\p{Script=Kannada}/u,
  /\p{Script=Malayalam}/u,
  /\p{Script=Sinhala}/u,
  /\p{Script=Oriya}/u,
  /\p{Script=Tibetan}/u,
  /\p{Script=Mongolian}/u,
  /\p{Script=Thaana}/u,
];
const LATIN = 0;

const ASCII_LETTER = /[a-z]/i;
const LETTER = /\p{L}/u;
const LETTERS = /\p{L}/gu;
const DIGIT = /\p{N}/u;

/** Kinds of tokens. Punctuation and symbols are neutral. */
const NEUTRAL = 0;
const READ = 1;
const UNREAD = 2;

/**
 * Makes a function that says whether a text's tokens mean something to the model: whether they are known, and in a
 * script that its vocabulary has words of. A letter of another script has a token of its own in many vocabularies, but
 * the model has hardly seen it.
 * @param vocabulary token → id
 * @param unknownId the id of text that the vocabulary cannot spell
 */
export function createLegibility(
  vocabulary: ReadonlyMap<string, number>,
  unknownId: number | undefined,
): (ids: readonly number[]) => Legibility {
  let last = unknownId ?? 0;
  for (const id of vocabulary.values()) last = Math.max(last, id);
  const scriptOf = new Int8Array(last + 1).fill(-1);
  const kinds = new Uint8Array(last + 1).fill(NEUTRAL);
  const counts = new Uint32Array(SCRIPTS.length);
  for (const [token, id] of vocabulary) {
    const ascii = ASCII_LETTER.test(token);
    if (!ascii && !LETTER.test(token)) {
      if (DIGIT.test(token)) kinds[id] = READ;
      continue;
    }
    const script = ascii ? LATIN : SCRIPTS.findIndex((pattern) => pattern.test(token));
    kinds[id] = UNREAD;
    scriptOf[id] = script;
    if (script >= 0 && (token.match(LETTERS)?.length ?? 0) >= 2) counts[script] = (counts[script] ?? 0) + 1;
  }
  for (const id of vocabulary.values()) {
    const script = scriptOf[id] ?? -1;
    if (script >= 0 && (counts[script] ?? 0) >= LEAST_TOKENS) kinds[id] = READ;
  }
  if (unknownId !== undefined) kinds[unknownId] = UNREAD;

  return (ids) => {
    if (ids.length === 0) return 'empty';
    let read = 0;
    let unread = 0;
    for (const id of ids) {
      const kind = kinds[id] ?? NEUTRAL;
      if (kind === UNREAD) unread += 1;
      else if (kind !== NEUTRAL) read += 1;
    }
    return read === 0 || (read < unread && read < ENOUGH_READ) ? 'illegible' : 'legible';
  };
}
