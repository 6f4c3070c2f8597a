import { Classifier } from '../scoring/classifier.js';
import { type HeadScoringOptions, headScoring } from '../scoring/head/head-scoring.js';

/** The classifier of a daemon, which the commands measure as well: what they say of routes holds where they serve. */
export function createClassifier(options: HeadScoringOptions): Classifier {
  return new Classifier({ createScorer: headScoring(options) });
}
