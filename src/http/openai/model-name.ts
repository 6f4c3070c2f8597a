import { AppError } from '../../shared/errors.js';

/** OpenAI's own embedding models: whoever changes nothing but the base URL asks for one of these. */
const OPENAI_MODEL = /^text-embedding-/;

/**
 * Lets the names pass that stand for the one model that is served: its id, its bare name, the same model of another
 * organisation, and OpenAI's own (the answer's `model` tells which one it was). Vectors of another model than the one
 * that was named would be wrong in silence.
 * @throws AppError `not_found`
 */
export function requireModel(asked: string, served: string): void {
  if (OPENAI_MODEL.test(asked) || bareName(asked) === bareName(served)) return;
  const message = `the model "${asked}" does not exist here: this daemon serves "${served}"`;
  throw new AppError('not_found', message, { issues: [{ path: 'model', message }] });
}

function bareName(id: string): string {
  return id.slice(id.lastIndexOf('/') + 1).toLowerCase();
}
