import TEXTS from './probes.json' with { type: 'json' };

/**
 * Texts that a router should not be confident about, in two halves: constants were chosen with `TUNING`, and
 * `HELD_OUT`, written at the same time and never looked at, says what came of it. Do not move a text from one to the
 * other, and do not tune by the second.
 */
export interface Probes {
  /** Words of English, or like English, that make no request. */
  readonly nonsense: readonly string[];
  /** A request in each of forty languages, the model having been trained on English. */
  readonly languages: readonly string[];
  readonly symbols: readonly string[];
  /** Names of people, places and companies. */
  readonly names: readonly string[];
  readonly keyboard: readonly string[];
  /** Excerpts of programs and data. In scope of a set with a route for them. */
  readonly code: readonly string[];
  /** Requests that quote another script or language, which are for the default set's `translation`. */
  readonly quoting: readonly string[];
}

export const TUNING: Probes = TEXTS.tuning;
export const HELD_OUT: Probes = TEXTS.held_out;

/** Small sets as people begin with. */
export const SMALL_SETS: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> =
  TEXTS.small_sets;

/** Requests that are for none of the routes of {@link SMALL_SETS}. */
export const ELSEWHERE = { tuning: TEXTS.elsewhere.tuning, heldOut: TEXTS.elsewhere.held_out };
