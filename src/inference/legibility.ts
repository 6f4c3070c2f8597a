import type { Legibility } from './embedder.js';

/** A vocabulary with fewer tokens of two letters or more in a script was not made from text in it. */
const LEAST_TOKENS = 100;
/** As many tokens that can be read make a text legible, whatever script it quotes beside them. */
const ENOUGH_READ = 3;
/** A text is fragmented when so large a share of its tokens continue a word … */
const FRAGMENTS = 0.4;
/** … and so few of its words are known as a whole. */
const FEW_WHOLE = 4;
/** Letters of a word that counts as known; vocabularies have all shorter ones. */
const WHOLE_LETTERS = 3;

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
/** A word, or the start of one, that is long enough to count as known. */
const READ_WORD = 2;
const READ_CONTINUATION = 3;
const UNREAD = 4;

/**
 * Makes a function that says whether a text's tokens mean something to the model: whether they are known, and in a
 * script that its vocabulary has words of. A letter of another script has a token of its own in many vocabularies, but
 * the model has hardly seen it.
 * @param vocabulary token → id
 * @param unknownId the id of text that the vocabulary cannot spell
 * @param continuation prefix of a token that continues a word, where the vocabulary has one
 */
export function createLegibility(
  vocabulary: ReadonlyMap<string, number>,
  unknownId: number | undefined,
  continuation: string | undefined,
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
  for (const [token, id] of vocabulary) {
    const script = scriptOf[id] ?? -1;
    if (script < 0 || (counts[script] ?? 0) < LEAST_TOKENS) continue;
    if (continuation !== undefined && token.startsWith(continuation)) kinds[id] = READ_CONTINUATION;
    else kinds[id] = token.length >= WHOLE_LETTERS ? READ_WORD : READ;
  }
  if (unknownId !== undefined) kinds[unknownId] = UNREAD;

  return (ids) => {
    if (ids.length === 0) return 'empty';
    let read = 0;
    let unread = 0;
    let continued = 0;
    let whole = 0;
    let previous = NEUTRAL;
    for (const id of ids) {
      const kind = kinds[id] ?? NEUTRAL;
      if (kind === UNREAD) unread += 1;
      else if (kind !== NEUTRAL) read += 1;
      if (kind === READ_WORD) whole += 1;
      if (kind === READ_CONTINUATION) {
        continued += 1;
        if (previous === READ_WORD) whole -= 1;
      }
      previous = kind;
    }
    if (read === 0 || (read < unread && read < ENOUGH_READ)) return 'illegible';
    return continued >= FRAGMENTS * read && whole < FEW_WHOLE ? 'fragmented' : 'legible';
  };
}
