import type { Row } from '../row.js';
import { CRASH } from './crash.js';
import { HEALING } from './healing.js';

/** The whole catalogue. */
export const ROWS: readonly Row[] = [...HEALING, ...CRASH].sort((a, b) => a.number - b.number);
