/** What a head that has not seen some texts says of them. */
export interface OutOfFold {
  /** How many texts. */
  readonly count: number;
  readonly routes: number;
  /** count × routes: logits of the regression. */
  readonly logits: Float32Array;
  /** count × routes: best cosine to the utterances of each route, those of the text's own fold left out. */
  readonly similarity: Float32Array;
  /** count: the route that each text belongs to; `NO_ROUTE` for background. */
  readonly labels: Int32Array;
}

/** Label of a text that belongs to no route. */
export const NO_ROUTE = -1;

/** Room for `count` texts. */
export function createOutOfFold(count: number, routes: number): OutOfFold {
  return {
    count,
    routes,
    logits: new Float32Array(count * routes),
    similarity: new Float32Array(count * routes),
    labels: new Int32Array(count).fill(NO_ROUTE),
  };
}
