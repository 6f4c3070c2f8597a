import { Classifier } from './classify/classifier.js';

/** The classifier of a daemon, which the commands measure as well: what they say of routes holds where they serve. */
export function createClassifier(): Classifier {
  return new Classifier();
}
