import TEXTS from './held-out.json' with { type: 'json' };

/**
 * Texts that no route of `routes/default.yaml` was written from. Improve the routes' utterances when one of
 * these is misrouted; do not adapt an expectation to what the model happens to say.
 */

/** A request and the route of the default set that should take it. */
type Expected = readonly [text: string, route: string];

/** Realistic requests. */
export const IN_SCOPE = TEXTS.in_scope as unknown as readonly Expected[];

/**
 * More of the same, written after the utterances were finished and never used to improve them: what these
 * get is what a stranger's texts will get.
 */
export const IN_SCOPE_UNSEEN = TEXTS.in_scope_unseen as unknown as readonly Expected[];

/** Texts for which the default set has no route. */
export const OUT_OF_SCOPE: readonly string[] = TEXTS.out_of_scope;

/** Requests in the words of a trade, in English that the vocabulary has in pieces only, and with slips of the hand. */
export const TRADE = TEXTS.trade as unknown as readonly Expected[];
