import type { Row } from '../../campaign/row.js';
import { FLOODING } from './flooding.js';
import { INPUT } from './input.js';
import { OVERLOAD } from './overload.js';
import { RUDE } from './rude.js';
import { STARVING } from './starving.js';

/** The whole campaign. */
export const ROWS: readonly Row[] = [...INPUT, ...RUDE, ...OVERLOAD, ...STARVING, ...FLOODING];
