import type { Row } from '../row.js';
import { CRASH } from './crash.js';
import { HEALING } from './healing.js';
import { POWER_LOSS } from './power-loss.js';
import { SOURCE } from './source.js';
import { VOLUME_ERRORS } from './volume-errors.js';
import { VOLUME_STATE } from './volume-state.js';

/** The whole catalogue. */
export const ROWS: readonly Row[] = [
  ...VOLUME_STATE,
  ...VOLUME_ERRORS,
  ...HEALING,
  ...CRASH,
  ...POWER_LOSS,
  ...SOURCE,
].sort((a, b) => a.number - b.number);
