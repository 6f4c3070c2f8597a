/** How routes are scored: by a head where one can be trained, always by one, or always by nearest utterances. */
export const SCORING_METHODS = ['auto', 'head', 'nearest'] as const;

/** See {@link SCORING_METHODS}. */
export type ScoringMethod = (typeof SCORING_METHODS)[number];
