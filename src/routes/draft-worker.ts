import { parentPort, workerData } from 'node:worker_threads';
import { AppError } from '../shared/errors.js';
import type { DraftParsed, DraftText } from './drafts.js';
import { parseRouteSet } from './parse.js';

const { text, options } = workerData as DraftText;

function parse(): DraftParsed {
  try {
    return { ok: true, set: parseRouteSet(text, options) };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const { code, message, issues } = error;
    return { ok: false, code, message, issues };
  }
}

parentPort?.postMessage(parse());
