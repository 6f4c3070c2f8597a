import type { Row } from '../../campaign/row.js';
import { CONCURRENCY } from './concurrency.js';
import { CRASH } from './crash.js';
import { HEALING } from './healing.js';
import { LIFE } from './life.js';
import { MODEL } from './model.js';
import { POWER_LOSS } from './power-loss.js';
import { SETTINGS } from './settings.js';
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
  ...CONCURRENCY,
  ...MODEL,
  ...LIFE,
  ...SETTINGS,
].sort((a, b) => a.number - b.number);
