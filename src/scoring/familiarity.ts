import type { Legibility } from '../inference/embedder.js';

/**
 * Constants of the check that keeps scores low for texts that are like no utterance, chosen with the tuning half of the
 * probes (test/scoring/probes.ts; `npm run bench:routing` shows both halves).
 */
export const FAMILIARITY_DEFAULTS = {
  /** Floor of a set that has too few utterances to tell, … */
  floor: { at: 0.32, width: 0.02 },
  /** … and as how many utterances it counts beside the set's own. */
  floorWeight: 20,
  /** Share of the set's own utterances that may be below the floor when each is compared with the others. */
  below: 0.01,
  /** Fitted floors are within these bounds: a set may be about one subject or about anything. */
  bounds: [0.2, 0.4],
  /**
   * Floor of labels without examples. Of the default set's texts, a tenth of those that find their route by its name are
   * no more like that name than 0.2, and most of the texts at 0.15 go wrong: so their scores sink slowly.
   */
  named: { at: 0.16, width: 0.08 },
  /** Floor of a text in pieces of words: only one that nearly repeats an utterance counts. */
  fragmented: { at: 0.6, width: 0.02 },
  /** Factor of a text that the model cannot read. It keeps the order and is below every default threshold. */
  illegible: 0.05,
} as const;

/** A curve from 0 to 1, in cosine: one half at `at`, three quarters a `width` above it. */
export interface Floor {
  readonly at: number;
  readonly width: number;
}

/**
 * Fits the floor of a set.
 * @param cosines of utterances of the set, each to the nearest of the others; sorted in place
 */
export function fitFloor(cosines: Float64Array): Floor {
  const { floor, floorWeight, below, bounds } = FAMILIARITY_DEFAULTS;
  const lowest = cosines.sort()[Math.floor(cosines.length * below)];
  if (lowest === undefined) return floor;
  const mixed = (cosines.length * lowest + floorWeight * floor.at) / (cosines.length + floorWeight);
  const at = Math.min(bounds[1], Math.max(bounds[0], mixed));
  return { at: Math.round(1e4 * at) / 1e4, width: floor.width };
}

/**
 * Returns the factor, 0 to 1, by which all scores of a text are multiplied.
 * @param cosine of the text and the nearest utterance
 */
export function familiarity(cosine: number, floor: Floor, legibility: Legibility = 'legible'): number {
  const { fragmented, illegible } = FAMILIARITY_DEFAULTS;
  if (legibility === 'illegible' || legibility === 'empty') return illegible;
  const { at, width } = legibility === 'fragmented' ? fragmented : floor;
  return 1 / (1 + Math.exp((at - cosine) / width));
}
