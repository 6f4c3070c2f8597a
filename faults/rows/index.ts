import type { Row } from '../row.js';
import { HEALING } from './healing.js';

/** The whole catalogue. */
export const ROWS: readonly Row[] = [...HEALING].sort((a, b) => a.number - b.number);
