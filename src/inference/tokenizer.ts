import { PreTrainedTokenizer } from '@xenova/transformers/src/tokenizers.js';
import type { EmbeddingSpec } from '../cache/manifest.js';
import { AppError, messageOf } from '../shared/errors.js';
import { createNormalizer } from './normalizer.js';
import { createWordPiece } from './word-piece.js';

/** The token ids of one text. */
export interface Encoding {
  /** Ids with the special tokens, at most the model's `max_tokens`. */
  readonly ids: number[];
  /** Tokens that were cut off the end of the text. */
  readonly truncatedTokens: number;
}

/**
 * Turns text into token ids, equal to those of the reference tokenizer. What is a mark, a letter or punctuation
 * is for Node's Unicode to say; the reference's tables stop at Unicode 8, so that some 650 rare characters
 * assigned since then (of Adlam or Zanabazar Square, say) may come out otherwise.
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
  const library = new PreTrainedTokenizer(json, config);
  if (vocabulary) giveVocabulary(library, vocabulary);
  mendNormalizer(library, json);
  mendWordPiece(library, json);

  const body = (text: string) => library.encode(text, null, { add_special_tokens: false });
  const [prefix, suffix] = frameOf(library);
  const room = maxTokens - prefix.length - suffix.length;
  if (room < 1) throw new Error(`max_tokens ${maxTokens} leaves no room beside the special tokens`);

  return {
    padId: library.model.tokens_to_ids.get(library.pad_token ?? '') ?? 0,
    encode(text) {
      // The library's own truncation would cut the closing special token off.
      const ids = body(text);
      const truncatedTokens = Math.max(0, ids.length - room);
      if (truncatedTokens > 0) ids.length = room;
      return { ids: [...prefix, ...ids, ...suffix], truncatedTokens };
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
