import type { Row } from '../../campaign/row.js';
import { INPUT } from './input.js';

/** The whole campaign. */
export const ROWS: readonly Row[] = [...INPUT];
