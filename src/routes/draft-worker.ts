import { parentPort, workerData } from 'node:worker_threads';
import { AppError } from '../shared/errors.js';
import { type DraftParsed, type DraftWork, parseWork } from './drafts.js';

function parse(): DraftParsed {
  try {
    return { ok: true, parsed: parseWork(workerData as DraftWork) };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const { code, message, issues } = error;
    return { ok: false, code, message, issues };
  }
}

parentPort?.postMessage(parse());
