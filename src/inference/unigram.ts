/** Score of a character that no piece spells: so much below the lowest score of a piece, as in the reference. */
const UNKNOWN_PENALTY = 10;

/**
 * Makes a function that splits words into the pieces with the highest sum of scores (Viterbi), exactly as the reference's
 * Unigram does; a run of characters that no piece spells is one token, which is in no vocabulary. The library takes half
 * of an emoji for a character, and copies the rest of the text at each one. Takes time linear in the text.
 * @param pieces with their scores, by id
 */
export function createUnigram(
  pieces: readonly (readonly [piece: string, score: number])[],
  unknownId: number,
): (words: readonly string[]) => string[] {
  const scores = new Map(pieces.filter((_, id) => id !== unknownId));
  const lowest = pieces.reduce((least, [, score]) => Math.min(least, score), Number.POSITIVE_INFINITY);
  let longest = 1;
  for (const [piece] of pieces) longest = Math.max(longest, [...piece].length);

  function split(word: string): string[] {
    const chars = [...word];
    const best = new Float64Array(chars.length + 1).fill(Number.NEGATIVE_INFINITY);
    best[0] = 0;
    /** Where the last piece of the best way to each end starts, and whether it is unknown. */
    const starts = new Uint32Array(chars.length + 1);
    const unknown = new Uint8Array(chars.length + 1);
    for (let start = 0; start < chars.length; start += 1) {
      let piece = '';
      for (let end = start + 1; end <= Math.min(chars.length, start + longest); end += 1) {
        piece += chars[end - 1];
        const found = scores.get(piece);
        const isUnknown = found === undefined && end === start + 1;
        if (found === undefined && !isUnknown) continue;
        const score = (best[start] as number) + (found ?? lowest - UNKNOWN_PENALTY);
        if (score <= (best[end] as number)) continue;
        best[end] = score;
        starts[end] = start;
        unknown[end] = isUnknown ? 1 : 0;
      }
    }
    const tokens: string[] = [];
    for (let end = chars.length; end > 0; ) {
      let start = starts[end] as number;
      while (unknown[end] === 1 && start > 0 && unknown[start] === 1) start = starts[start] as number;
      tokens.push(chars.slice(start, end).join(''));
      end = start;
    }
    return tokens.reverse();
  }

  return (words) => words.flatMap(split);
}
