/** What a BERT normalizer does; the names are those of `tokenizer.json`, in camel case. */
export interface NormalizerOptions {
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
